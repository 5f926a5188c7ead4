// The process bus between threads: a soak, a publisher that has no regard, workers that are terminated in the middle, and when a process ends.
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createEvent } from '@alkdev/pubsub-native';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { eventually, Log, next, turn, within } from '../websocket/facts.mjs';

const fixture = new URL('fixtures/bus-worker.mjs', import.meta.url);
const PATIENCE_MS = 120_000;
let names = 0;

/** A worker; `says` is a log of what it posts, and its failure is the test's. */
function start(t, workerData) {
  const worker = new Worker(fixture, { workerData });
  const says = new Log();
  worker.on('message', (message) => says.push(message));
  const failed = new Promise((_, reject) => worker.on('error', reject));
  failed.catch(() => {});
  t.after(() => worker.terminate());
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  return { worker, says, failed, ended };
}

const ofWorker = (worker, promise, what) => within(Promise.race([promise, worker.failed]), what, PATIENCE_MS);

test('a publisher that waits for its slowest listener reaches three workers with everything, in order', async (t) => {
  const name = `soak ${++names}`;
  const EVENTS = 100_000;
  const listeners = [1, 2, 3].map(() => start(t, { name, role: 'listen' }));
  for (const listener of listeners)
    await ofWorker(
      listener,
      listener.says.has((said) => said === 'ready'),
      'a listener',
    );
  const began = performance.now();
  const publisher = start(t, { name, role: 'publish', events: EVENTS });
  for (const listener of listeners) {
    const result = await ofWorker(
      listener,
      listener.says.has((said) => said.heard !== undefined, 'the end', PATIENCE_MS),
      'the end',
    );
    assert.deepEqual(result, { heard: EVENTS, dropped: 0, gaps: 0 });
    assert.equal(await ofWorker(listener, listener.ended, 'the end of a listener'), 0);
  }
  assert.equal(await ofWorker(publisher, publisher.ended, 'the end of the publisher'), 0);
  const seconds = (performance.now() - began) / 1000;
  t.diagnostic(`${Math.round((3 * EVENTS) / seconds)} deliveries/s`);
});

test('a thread that publishes and listens at the same time hears everything', async (t) => {
  const name = `crossed ${++names}`;
  const listener = start(t, { name, role: 'listen' });
  await ofWorker(
    listener,
    listener.says.has((said) => said === 'ready'),
    'a listener',
  );
  const publisher = start(t, { name, role: 'publish', events: 20_000 });
  const own = createProcessEventTarget(name);
  let heard = 0;
  own.addEventListener('tick:1', () => heard++);
  for (let n = 0; n < 20_000; n++) {
    own.dispatchEvent(createEvent('noise', '1', n));
    if (n % 100 === 0) await turn();
  }
  await ofWorker(publisher, publisher.ended, 'the publisher');
  await ofWorker(listener, listener.ended, 'the listener');
  await eventually(() => heard === 20_000, 'everything was heard here', PATIENCE_MS);
  await own.close();
});

test('a publisher without regard loses nothing in silence: what did not fit is told with its exact number', async () => {
  const name = `flood ${++names}`;
  const EVENTS = 30_000;
  const slow = createProcessEventTarget(name, { maxPendingBytes: 1 << 20 });
  let [heard, dropped, order] = [0, 0, -1];
  slow.addEventListener('gap', ({ detail }) => {
    assert.deepEqual([detail.cause, detail.direction, detail.topics], ['overflow', 'in', ['tick:1']]);
    dropped += detail.dropped;
  });
  slow.addEventListener('tick:1', ({ detail }) => {
    assert.ok(detail.payload.n > order);
    order = detail.payload.n;
    heard++;
  });
  await slow.ready('tick:1');
  const publisher = createProcessEventTarget(name);
  await publisher.ready();
  // In one turn: the other member, of this thread, hears nothing meanwhile.
  for (let n = 0; n < EVENTS; n++) publisher.dispatchEvent(createEvent('tick', '1', { n, text: 'x'.repeat(200) }));
  assert.ok(publisher.bufferedAmount > 0 && publisher.bufferedAmount <= 1 << 20, String(publisher.bufferedAmount));
  const flushed = within(publisher.flush(), 'flush()', PATIENCE_MS);
  await eventually(() => heard + dropped === EVENTS, 'everything is accounted for', PATIENCE_MS);
  await flushed;
  assert.ok(dropped > 0, 'the flood was large enough');
  assert.equal(slow.stats().dropped, dropped);
  assert.equal(publisher.bufferedAmount, 0);
  await Promise.all([slow.close(), publisher.close()]);
});

test('payloads of another name, of a topic nobody wants and after close() go nowhere', async () => {
  const [a, b] = [createProcessEventTarget(`name ${++names}`), createProcessEventTarget(`name ${++names}`)];
  b.addEventListener('a:b', () => assert.fail('another name'));
  await b.ready('a:b');
  a.dispatchEvent(createEvent('a', 'b', 1));
  await a.flush();
  assert.deepEqual([a.stats().published, a.stats().unrouted, a.stats().members], [1, 1, 1]);
  await a.close();
  a.dispatchEvent(createEvent('a', 'b', 2));
  assert.deepEqual([a.stats().published, a.stats().members], [1, 0]);
  await b.close();
});

test('echo: own listeners hear what JSON made of it', async () => {
  const bus = createProcessEventTarget(`echo ${++names}`, { echo: true });
  const heard = next(bus, 'a:b');
  bus.dispatchEvent(createEvent('a', 'b', [undefined]));
  assert.deepEqual((await heard).payload, [null]);
  await bus.close();
});

test('options are checked at once, and sizes when something is dispatched', async () => {
  for (const name of ['', undefined, 7, {}])
    assert.throws(() => createProcessEventTarget(name), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
  for (const options of [{ echo: 1 }, { limits: { heartbeatMs: 1 } }, { maxPendingBytes: 0 }, { peer: 'plain' }])
    assert.throws(() => createProcessEventTarget('options', options), { code: 'ERR_INVALID_OPTION' });
  const controller = new AbortController();
  const bus = createProcessEventTarget('options', { limits: { maxMessageBytes: 100 }, signal: controller.signal });
  const event = createEvent('a', 'b', 'x'.repeat(100));
  assert.throws(() => bus.dispatchEvent(event), { code: 'ERR_MESSAGE_TOO_LARGE' });
  controller.abort();
  assert.equal((await bus.closed).code, 1000);
});

// ---- Threads that vanish ---------------------------------------------------------------------------------------------------------

const WORKERS = 100;
const AT_A_TIME = 4;
/** After these, pools and caches are as large as they get. */
const WARM_UP = 20;
const MIB = 1 << 20;
const isLinux = existsSync('/proc/self/task');
const countOf = (kind) => (isLinux ? readdirSync(`/proc/self/${kind}`).length : 0);

test(`${WORKERS} workers are terminated in the middle of the stream, and the process is as before`, async (t) => {
  const name = `mortal ${++names}`;
  const bus = createProcessEventTarget(name);
  let heard = 0;
  bus.addEventListener('up:1', () => heard++);
  await bus.ready('up:1');
  let isOver = false;
  const talk = async () => {
    while (!isOver) {
      for (let n = 0; n < 20; n++) bus.dispatchEvent(createEvent('down', '1', 'x'.repeat(200)));
      await turn();
      if (bus.bufferedAmount > 1 << 20) await bus.drain();
    }
  };
  const talking = talk();
  const liveAndDie = async (how, number) => {
    const { worker, says, failed } = start(t, { name, role: 'live', how, number });
    await within(Promise.race([says.has((said) => said === 'lives'), failed]), 'the worker talks', PATIENCE_MS);
    await within(worker.terminate(), 'terminate()', PATIENCE_MS);
  };
  const run = async (count) => {
    for (let n = 0; n < count; n += AT_A_TIME)
      await Promise.all(['busy', 'busy', 'blocked', 'spinning'].map((how, i) => liveAndDie(how, n + i)));
    await eventually(() => bus.stats().members === 1, 'the members of dead workers are gone');
  };
  const state = () => ({ threads: countOf('task'), descriptors: countOf('fd'), rss: process.memoryUsage.rss() });
  await run(WARM_UP);
  const before = state();
  await run(WORKERS - WARM_UP);
  isOver = true;
  await within(talking, 'the publisher');
  if (isLinux)
    await eventually(
      () => state().threads <= before.threads && state().descriptors <= before.descriptors,
      'as many threads and descriptors as before',
    );
  const after = state();
  t.diagnostic(
    `threads ${before.threads} -> ${after.threads}, descriptors ${before.descriptors} -> ${after.descriptors}`,
  );
  t.diagnostic(`RSS ${Math.round(before.rss / MIB)} MiB -> ${Math.round(after.rss / MIB)} MiB; ${heard} events heard`);
  assert.ok(heard > 0);
  assert.ok(after.rss - before.rss < 64 * MIB, `RSS grew by ${after.rss - before.rss} bytes`);
  await within(bus.flush(), 'nothing waits for the dead');
  const { members, topics, waiting } = bus.stats();
  assert.deepEqual(
    { members, topics, waiting, buffered: bus.bufferedAmount },
    { members: 1, topics: 1, waiting: 0, buffered: 0 },
  );
  await bus.close();
});
