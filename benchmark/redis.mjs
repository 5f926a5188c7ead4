// Events through a Redis of its own: this package beside the clients of other libraries. `npm run bench:redis`. With `-- --glide` also
// `@valkey/valkey-glide`, which is no dependency here: `npm install --no-save @valkey/valkey-glide`.
// All variants alternate in one run, in processes that are made anew for each round. Medians over the rounds, smallest and largest in brackets.

import { fork } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { startRedis, withoutRedis } from '../__test__/redis/server.mjs';
import { median, processorOf, spread, table } from './measure.mjs';
import { setUpPackage } from './setup.mjs';

const VARIANTS = ['this package', 'ioredis', 'ioredis, auto-pipelining', 'node-redis', 'graphql-yoga'];
if (process.argv.includes('--glide')) VARIANTS.push('valkey-glide');
const ROUNDS = Number(process.env.ROUNDS ?? 5);
const EVENTS = 300_000;
const DELAYS = 220;
const TOPICS = 10_000;

if (withoutRedis) {
  console.error(withoutRedis);
  process.exit(1);
}
const folder = setUpPackage();
const cleanups = [];
const server = await startRedis({ after: (cleanup) => cleanups.push(cleanup) });
try {
  console.log(
    `Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, ${ROUNDS} rounds, envelopes of 200 bytes\n`,
  );
  const results = Object.fromEntries(VARIANTS.map((variant) => [variant, []]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const variant of VARIANTS) {
      const result = { ...(await stream(variant)), ...(await delay(variant)), ...(await subscribe(variant)) };
      if (round >= 0) results[variant].push(result);
    }
  }
  report(results);
} finally {
  for (const cleanup of cleanups) await cleanup();
}

/** A process with a role, and a promise for each kind of thing that it says. */
function start(variant, role, size) {
  const args = [folder, variant, role, server.port, role, size].map(String);
  const child = fork(fileURLToPath(new URL('redis-client.mjs', import.meta.url)), args);
  const told = new Map();
  const of = (kind) => {
    if (!told.has(kind)) told.set(kind, Promise.withResolvers?.() ?? deferred());
    return told.get(kind);
  };
  child.on('message', (message) => message.kind !== undefined && of(message.kind).resolve(message));
  const end = () =>
    new Promise((resolve) => {
      child.once('exit', resolve);
      child.send({ stop: true });
    });
  return { child, says: (kind) => of(kind).promise, end };
}

function deferred() {
  let resolve;
  const promise = new Promise((settle) => (resolve = settle));
  return { promise, resolve };
}

async function stream(variant) {
  const [publisher, listener] = [start(variant, 'publish', EVENTS), start(variant, 'listen', EVENTS)];
  await Promise.all([publisher.says('ready'), listener.says('ready')]);
  listener.child.on('message', ({ counted }) => counted !== undefined && publisher.child.send({ counted }));
  listener.child.send({ go: true });
  await listener.says('listening');
  const before = processorOf(server.pid).process;
  publisher.child.send({ go: true });
  const [published, heard] = await Promise.all([publisher.says('published'), listener.says('heard')]);
  const redis = processorOf(server.pid).process - before;
  await Promise.all([publisher.end(), listener.end()]);
  return {
    rate: EVENTS / heard.ms,
    publish: (published.cpu * 1000) / EVENTS,
    listen: (heard.cpu * 1000) / EVENTS,
    redis: redis / 1000 / EVENTS,
  };
}

async function delay(variant) {
  const one = start(variant, 'latency', DELAYS);
  await one.says('ready');
  one.child.send({ go: true });
  const { delays } = await one.says('delays');
  await one.end();
  return { delay: median(delays) * 1000 };
}

async function subscribe(variant) {
  const one = start(variant, 'subscriptions', TOPICS);
  await one.says('ready');
  one.child.send({ go: true });
  const { ms } = await one.says('subscribed');
  await one.end();
  return { subscriptions: ms };
}

function report(results) {
  const rows = VARIANTS.map((variant) => {
    const all = (figure) => results[variant].map((result) => result[figure]);
    return {
      '': variant,
      'thousand events/s': spread(all('rate')),
      'µs CPU, publisher': spread(all('publish'), 2),
      'µs CPU, listener': spread(all('listen'), 2),
      'µs CPU, Redis': spread(all('redis'), 2),
      'µs p50 at 200/s': spread(all('delay')),
      'ms, 10 000 subscriptions': spread(all('subscriptions')),
    };
  });
  console.log(table(rows));
}
