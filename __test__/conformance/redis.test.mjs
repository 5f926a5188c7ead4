// The Redis target in the conformance suite: two targets at one server.
import { after, before, suite } from 'node:test';
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { startRedis, withoutRedis } from '../redis/server.mjs';
import { conformance } from './index.mjs';

suite('Redis', { skip: withoutRedis }, () => {
  let server;
  const cleanups = [];
  before(async () => {
    server = await startRedis({ after: (cleanup) => cleanups.push(cleanup) });
  });
  after(async () => {
    for (const cleanup of cleanups) await cleanup();
  });

  let pairs = 0;
  const makePair = (options) => async () => {
    const prefix = `pair ${++pairs}:`;
    const [a, b] = [1, 2].map(() => createRedisEventTarget({ url: server.url, prefix, ...options }));
    return { a, b, close: () => Promise.all([a.close(), b.close()]) };
  };
  const capabilities = { transport: true, echo: true, acknowledges: true };

  conformance('two targets at one Redis', makePair({}), capabilities);
  conformance('two targets at one Redis without echo', makePair({ echo: false }), { ...capabilities, echo: false });
});
