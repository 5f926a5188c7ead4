// Redis in the conformance suite: two targets at one server, and two hubs that a server joins, and their spokes.
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { createWebSocketClientEventTarget } from '../../dist/event-target-websocket-client.js';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { startRedis, withoutRedis } from '../redis/server.mjs';
import { after, conformance } from './index.mjs';

const cleanups = [];
after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

/** One server for all pairs. */
let server;
const urlOfServer = async () => {
  server ??= startRedis({ after: (cleanup) => cleanups.push(cleanup) });
  return (await server).url;
};

let pairs = 0;
const makePair = (options) => async () => {
  const prefix = `pair ${++pairs}:`;
  const url = await urlOfServer();
  const [a, b] = [1, 2].map(() => createRedisEventTarget({ url, prefix, ...options }));
  return { a, b, close: () => Promise.all([a.close(), b.close()]) };
};
const capabilities = { transport: true, echo: true, acknowledges: true };

conformance('two targets at one Redis', makePair({}), capabilities, { skip: withoutRedis });
conformance(
  'two targets at one Redis without echo',
  makePair({ echo: false }),
  { ...capabilities, echo: false },
  { skip: withoutRedis },
);

const closeAll = (targets) => Promise.all(targets.map((target) => target.close()));

async function makeHubs() {
  const backplane = { url: await urlOfServer(), prefix: `hubs ${++pairs}:` };
  const hubs = [1, 2].map(() => createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true, backplane }));
  await Promise.all(hubs.map((hub) => hub.ready()));
  return hubs;
}

async function makeHubPair() {
  const [a, b] = await makeHubs();
  return { a, b, close: () => closeAll([a, b]) };
}

async function makeSpokes() {
  const hubs = await makeHubs();
  const [a, b] = hubs.map((hub) => createWebSocketClientEventTarget(hub.address.url));
  await Promise.all([a.ready(), b.ready()]);
  return { a, b, close: () => closeAll([a, b]).then(() => closeAll(hubs)) };
}

conformance(
  'spokes of two hubs that Redis joins',
  makeSpokes,
  { ...capabilities, echo: false },
  { skip: withoutRedis },
);
conformance('two hubs that Redis joins', makeHubPair, { ...capabilities, echo: false }, { skip: withoutRedis });
