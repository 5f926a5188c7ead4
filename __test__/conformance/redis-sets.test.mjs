// Redis that is several servers in the conformance suite: a master that Sentinels watch, and a cluster with classic and sharded channels.
import { after, before } from 'node:test';
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { withoutRedis } from '../redis/server.mjs';
import { startCluster, startSentinelSet } from '../redis/sets.mjs';
import { conformance } from './index.mjs';

let sentinels;
let cluster;
const cleanups = [];
before(async () => {
  if (withoutRedis) return;
  const t = { after: (cleanup) => cleanups.push(cleanup) };
  [sentinels, cluster] = [(await startSentinelSet(t)).options, (await startCluster(t)).options];
});
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

let pairs = 0;
const makePair = (servers) => async () => {
  // The suite knows order between topics: sharded channels have it within a slot, and what is in braces decides on that.
  const prefix = `{pair ${++pairs}}:`;
  const [a, b] = [1, 2].map(() => createRedisEventTarget({ ...servers(), prefix }));
  return { a, b, close: () => Promise.all([a.close(), b.close()]) };
};
const capabilities = { transport: true, echo: true, acknowledges: true };
const skip = withoutRedis;

conformance(
  'two targets at a master that Sentinels watch',
  makePair(() => sentinels),
  capabilities,
  { skip },
);
conformance(
  'two targets in a Redis Cluster',
  makePair(() => cluster),
  capabilities,
  { skip },
);
const sharded = () => ({ ...cluster, sharded: true });
conformance('two targets in a Redis Cluster, sharded, in one slot', makePair(sharded), capabilities, { skip });
