// One process of `npm run bench:redis`: publishes or listens, by one of the libraries. Does not compare.
// The publisher keeps a window of events that the listener has not counted yet, whichever library: nobody wins by filling memory.

import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { createRedisEventTarget as createYogaTarget } from '@graphql-yoga/redis-event-target';
import Redis from 'ioredis';
import { createClient } from 'redis';

const [folder, variant, role, port, task, size] = process.argv.slice(2);
const url = `redis://127.0.0.1:${port}`;
const client = await connect();
const padding = 'x'.repeat(130);
const WINDOW = 4000;
const BURST = 16;

/** `publish(id, payload)`, `listen(id, hear)` settles when it is active, `close()`. */
async function connect() {
  if (variant === 'this package') return ours();
  if (variant.startsWith('ioredis')) return withIoredis({ enableAutoPipelining: variant.includes('auto') });
  if (variant === 'node-redis') return withNodeRedis();
  if (variant === 'valkey-glide') return withGlide();
  return yoga();
}

async function ours() {
  const at = (path) => import(pathToFileURL(`${folder}/dist/${path}`).href);
  const { createRedisEventTarget } = await at('event-target-redis.js');
  const { createPubSub } = await at('index.js');
  const target = createRedisEventTarget({ url });
  const pubsub = createPubSub({ eventTarget: target });
  await target.ready();
  return {
    publish: (id, payload) => pubsub.publish('bench', id, payload),
    listen: (id, hear) => {
      target.addEventListener(`bench:${id}`, ({ detail }) => hear(detail.payload));
      return target.ready(`bench:${id}`);
    },
    close: () => target.close(),
  };
}

const text = (id, payload) => JSON.stringify({ type: 'bench', id, payload });

/** A subscription before its client is ready races with the client's own first question, and may never come to an end. */
async function readyRedis(options = {}) {
  const redis = new Redis(url, options);
  await once(redis, 'ready');
  return redis;
}

async function withIoredis(options) {
  const redis = await readyRedis(options);
  const hears = new Map();
  redis.on('message', (channel, message) => hears.get(channel)?.(JSON.parse(message).payload));
  return {
    publish: (id, payload) => void redis.publish(`bench:${id}`, text(id, payload)),
    listen: (id, hear) => {
      hears.set(`bench:${id}`, hear);
      return redis.subscribe(`bench:${id}`);
    },
    close: () => redis.disconnect(),
  };
}

async function withNodeRedis() {
  const redis = await createClient({ url })
    .on('error', () => {})
    .connect();
  return {
    publish: (id, payload) => void redis.publish(`bench:${id}`, text(id, payload)),
    listen: (id, hear) => redis.subscribe(`bench:${id}`, (message) => hear(JSON.parse(message).payload)),
    close: () => redis.destroy(),
  };
}

async function withGlide() {
  const { GlideClient } = await import('@valkey/valkey-glide');
  const hears = new Map();
  const redis = await GlideClient.createClient({
    addresses: [{ host: '127.0.0.1', port: Number(port) }],
    // The defaults are a quarter of a second, and 1000, which is less than the window.
    requestTimeout: 60_000,
    inflightRequestsLimit: 100_000,
    pubsubSubscriptions: {
      channelsAndPatterns: {},
      callback: ({ channel, message }) => hears.get(channel)?.(JSON.parse(message).payload),
    },
  });
  return {
    publish: (id, payload) => void redis.publish(text(id, payload), `bench:${id}`).catch(() => {}),
    listen: (id, hear) => {
      hears.set(`bench:${id}`, hear);
      return redis.subscribe([`bench:${id}`], 30_000);
    },
    close: () => redis.close(),
  };
}

async function yoga() {
  const [publishClient, subscribeClient] = await Promise.all([readyRedis(), readyRedis()]);
  const target = createYogaTarget({ publishClient, subscribeClient });
  const active = (channel) =>
    new Promise((resolve) => {
      const look = async () =>
        (await publishClient.pubsub('NUMSUB', channel))[1] > 0 ? resolve() : setTimeout(look, 1);
      void look();
    });
  return {
    publish: (id, payload) =>
      void target.dispatchEvent(new CustomEvent(`bench:${id}`, { detail: { type: 'bench', id, payload } })),
    listen: (id, hear, isLast = true) => {
      target.addEventListener(`bench:${id}`, ({ detail }) => hear(detail.payload));
      return isLast ? active(`bench:${id}`) : undefined;
    },
    close: () => {
      publishClient.disconnect();
      subscribeClient.disconnect();
    },
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const say = (message) => process.send(message);
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/** Publishes `size` events in bursts, no more than a window ahead of what the listener has counted. */
async function publishAll() {
  let counted = 0;
  let wake = () => {};
  process.on('message', (message) => {
    counted = message.counted ?? counted;
    wake();
  });
  // Asleep: turns of the event loop would be counted as work.
  const hasCounted = () => new Promise((resolve) => (wake = resolve));
  const before = cpuMs();
  for (let n = 0; n < Number(size); ) {
    while (n - counted >= WINDOW) await hasCounted();
    for (let burst = 0; burst < BURST && n < Number(size); burst++) client.publish('x', { n: n++, padding });
    await turn();
  }
  while (counted < Number(size)) await hasCounted();
  say({ kind: 'published', cpu: cpuMs() - before });
}

async function listenToAll() {
  let count = 0;
  let started;
  let before;
  await client.listen('x', () => {
    if (count === 0) [started, before] = [performance.now(), cpuMs()];
    if (++count % 500 === 0) say({ counted: count });
    if (count === Number(size))
      say({ kind: 'heard', counted: count, ms: performance.now() - started, cpu: cpuMs() - before });
  });
}

/** One event every 5 ms, heard by the same process: half of what is measured is its own. */
async function latency() {
  const delays = [];
  let sentAt;
  let wake;
  const other = await connect();
  await other.listen('x', () => {
    delays.push(performance.now() - sentAt);
    wake();
  });
  for (let n = 0; n < Number(size); n++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const heard = new Promise((resolve) => (wake = resolve));
    sentAt = performance.now();
    client.publish('x', { n, padding });
    await heard;
  }
  await other.close();
  say({ kind: 'delays', delays: delays.slice(20) });
}

async function subscriptions() {
  const started = performance.now();
  const count = Number(size);
  const all = Array.from({ length: count }, (_, n) => client.listen(String(n), () => {}, n + 1 === count));
  await Promise.all(all);
  say({ kind: 'subscribed', ms: performance.now() - started });
}

const roles = { publish: publishAll, listen: listenToAll, latency, subscriptions };
process.once('message', async ({ go }) => {
  if (go) await roles[role]();
  if (role === 'listen') say({ kind: 'listening' });
});
process.on('message', ({ stop }) => {
  if (stop) Promise.resolve(client.close()).then(() => process.disconnect());
});
say({ kind: 'ready', task });
