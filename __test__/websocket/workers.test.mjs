// Worker threads come and go: a hundred of them are terminated with live hubs and spokes in the middle of traffic, and nothing is left.
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { createEvent } from '@alkdev/pubsub-native';
import { BareClient } from './bare-peers.mjs';
import { eventually, listenTo, within } from './facts.mjs';
import { makeHub } from './targets.mjs';

const WORKERS = 100;
const AT_A_TIME = 4;
/** After these, pools and caches are as large as they get. */
const WARM_UP = 20;
const MIB = 1 << 20;
const fixture = fileURLToPath(new URL('fixtures/live-worker.mjs', import.meta.url));

const isLinux = existsSync('/proc/self/task');
const countOf = (kind) => (isLinux ? readdirSync(`/proc/self/${kind}`).length : 0);

/** Starts a worker, sees its hub at work from outside, terminates it, sees its sockets close. */
async function liveAndDie(t, url, how) {
  const worker = new Worker(fixture, { workerData: { url, how } });
  const failed = new Promise((_, reject) => worker.on('error', reject));
  const started = new Promise((resolve) => worker.once('message', resolve));
  const { port } = await within(Promise.race([started, failed]), 'the worker talks');
  const client = await BareClient.to(t, `ws://127.0.0.1:${port}`);
  client.publish('__subscribe', '', { topic: 'down:1' });
  if (how === 'busy')
    await within(Promise.race([client.frames.reaches(10), failed]), 'the hub of the worker is at work');
  client.frames.entries.length = 0;
  const code = await within(worker.terminate(), 'terminate()');
  await within(client.closed, 'the socket of the dead worker is closed');
  return code;
}

test(`${WORKERS} workers with live hubs and spokes are terminated, and the process is as before`, async (t) => {
  const hub = await makeHub(t, { relay: true });
  hub.addEventListener('error', () => {});
  const fromWorkers = listenTo(hub, 'from-worker:1');
  const bystander = await BareClient.to(t, hub);
  const echo = listenTo(hub, 'ping:1');
  await bystander.subscribe(hub, 'pong:1');
  let pings = 0;
  const isHealthy = async () => {
    bystander.publish('ping', '1', ++pings);
    await echo.reaches(pings);
    hub.dispatchEvent(createEvent('pong', '1', pings));
    await bystander.frames.reaches(pings);
  };

  const ways = ['busy', 'busy', 'blocked', 'spinning'];
  const run = async (count) => {
    for (let n = 0; n < count; n += AT_A_TIME) {
      await Promise.all(ways.slice(0, AT_A_TIME).map((how) => liveAndDie(t, hub.address.url, how)));
      await isHealthy();
    }
    await eventually(() => hub.connections.size === 1, 'the spokes of dead workers are gone');
  };
  const state = () => ({ threads: countOf('task'), descriptors: countOf('fd'), rss: process.memoryUsage.rss() });

  await run(WARM_UP);
  await eventually(() => fromWorkers.length > 0, 'workers were heard');
  fromWorkers.entries.length = 0;
  const before = state();
  await run(WORKERS - WARM_UP);
  if (isLinux) {
    const isBack = () => state().threads <= before.threads && state().descriptors <= before.descriptors;
    await eventually(isBack, 'as many threads and descriptors as before').catch((error) => {
      throw new Error(`${error.message}: ${JSON.stringify({ before, after: state() })}`);
    });
  }
  const after = state();
  const growth = after.rss - before.rss;
  t.diagnostic(
    `threads ${before.threads} -> ${after.threads}, descriptors ${before.descriptors} -> ${after.descriptors}`,
  );
  t.diagnostic(`RSS ${Math.round(before.rss / MIB)} MiB -> ${Math.round(after.rss / MIB)} MiB`);
  assert.ok(growth < 64 * MIB, `RSS grew by ${growth} bytes over ${WORKERS - WARM_UP} workers`);
  const { connections, panics, topics } = hub.stats();
  assert.deepEqual({ connections, panics, topics }, { connections: 1, panics: 0, topics: 4 - 1 });
  assert.equal(bystander.ws.readyState, bystander.ws.OPEN);
});

test('a worker that closes its targets ends by itself with code 0', async (t) => {
  const hub = await makeHub(t);
  const heard = listenTo(hub, 'from:worker');
  const source = `
    const { createEvent } = await import('@alkdev/pubsub-native');
    const { createWebSocketClientEventTarget } = await import('@alkdev/pubsub-native/event-target-websocket-client');
    const spoke = createWebSocketClientEventTarget(${JSON.stringify(hub.address.url)});
    for (let n = 0; n < 1000; n++) spoke.dispatchEvent(createEvent('from', 'worker', n));
    spoke.close();
  `;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(withPaths(source))}`));
  const ended = new Promise((resolve, reject) => {
    worker.on('exit', resolve);
    worker.on('error', reject);
  });
  assert.equal(await within(ended, 'the end of the worker'), 0);
  await heard.reaches(1000);
  assert.deepEqual(
    heard.entries.map(({ payload }) => payload),
    Array.from({ length: 1000 }, (_, n) => n),
  );
});

/** A data: module cannot resolve names of packages. */
function withPaths(source) {
  return source.replace(/import\('([^']+)'\)/g, (_, name) => `import(${JSON.stringify(import.meta.resolve(name))})`);
}
