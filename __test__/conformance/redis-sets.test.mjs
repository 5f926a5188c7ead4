// Redis that is several servers in the conformance suite: a master that Sentinels watch, and a cluster with classic and sharded channels.
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { withoutRedis } from '../redis/server.mjs';
import { startCluster, startSentinelSet } from '../redis/sets.mjs';
import { after, conformance } from './index.mjs';

const cleanups = [];
const forAll = { after: (cleanup) => cleanups.push(cleanup) };
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

/** One set of servers of a kind for all pairs. */
const started = new Map();
async function optionsOf(start) {
  if (!started.has(start)) started.set(start, start(forAll));
  return (await started.get(start)).options;
}

let pairs = 0;
const makePair = (start, options) => async () => {
  // The suite knows order between topics: sharded channels have it within a slot, and what is in braces decides on that.
  const prefix = `{pair ${++pairs}}:`;
  const servers = await optionsOf(start);
  const [a, b] = [1, 2].map(() => createRedisEventTarget({ ...servers, prefix, ...options }));
  return { a, b, close: () => Promise.all([a.close(), b.close()]) };
};
const capabilities = { transport: true, echo: true, acknowledges: true };
const skip = withoutRedis;

conformance('two targets at a master that Sentinels watch', makePair(startSentinelSet), capabilities, { skip });
conformance('two targets in a Redis Cluster', makePair(startCluster), capabilities, { skip });
conformance(
  'two targets in a Redis Cluster, sharded, in one slot',
  makePair(startCluster, { sharded: true }),
  capabilities,
  { skip },
);
