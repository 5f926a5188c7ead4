// Hubs that are joined by a bus of the process: in two worker threads, with spokes of both in this one; and what becomes of them when it goes.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { createEvent, createPubSub } from '@alkdev/pubsub-native';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { createHub } from '@alkdev/pubsub-native/hub';
import { BareClient } from '../websocket/bare-peers.mjs';
import { eventually, Log, listenTo, next, within } from '../websocket/facts.mjs';
import { makeHub, makeOpenSpoke } from '../websocket/targets.mjs';

const fixture = new URL('fixtures/hub-worker.mjs', import.meta.url);
const PATIENCE_MS = 60_000;
let names = 0;
const freshName = () => `backplane ${++names}`;

/** A worker with a hub; its failure is the test's. */
async function startHub(t, workerData) {
  const worker = new Worker(fixture, { workerData });
  const says = new Log();
  worker.on('message', (message) => says.push(message));
  const failed = new Promise((_, reject) => worker.on('error', reject));
  failed.catch(() => {});
  t.after(() => worker.terminate());
  const { url } = await Promise.race([says.has((said) => said.url, 'the hub of the worker', PATIENCE_MS), failed]);
  return { worker, says, url };
}

/** A bus that a hub of this thread joins. */
function busOf(t, name) {
  const bus = createProcessEventTarget(name);
  t.after(() => bus.close());
  return bus;
}

/** The numbers of each publisher, in the order in which they came. */
function byPublisher(payloads) {
  const heard = {};
  for (const [publisher, number] of payloads) {
    heard[publisher] ??= [];
    heard[publisher].push(number);
  }
  return heard;
}

const eachOnce = (publishers, events) =>
  Object.fromEntries(publishers.map((publisher) => [publisher, Array.from({ length: events }, (_, n) => n)]));

test('two hubs in two threads are one: everybody hears everybody else once and in order', async (t) => {
  const EVENTS = 2000;
  const workerData = { name: freshName(), topic: 'n:1' };
  const hubs = [await startHub(t, workerData), await startHub(t, workerData)];
  const spokes = [];
  for (const [index, { url }] of hubs.entries()) {
    for (const nth of [0, 1]) {
      const spoke = await makeOpenSpoke(t, url);
      const log = listenTo(spoke, 'n:1');
      assert.deepEqual(await spoke.ready('n:1'), { acknowledged: true });
      spokes.push({ name: `spoke ${nth} of ${index}`, spoke, log, gaps: listenTo(spoke, 'gap') });
    }
  }
  for (let n = 0; n < EVENTS; n++) {
    for (const { name, spoke } of spokes) spoke.dispatchEvent(createEvent('n', '1', [name, n]));
    for (const [index, { worker }] of hubs.entries()) worker.postMessage({ dispatch: ['n', '1', [`hub ${index}`, n]] });
    if (n % 100 === 0) await Promise.all(spokes.map(({ spoke }) => spoke.flush()));
  }
  const everybody = [...spokes.map(({ name }) => name), 'hub 0', 'hub 1'];
  for (const { name, log, gaps } of spokes) {
    await log.reaches((everybody.length - 1) * EVENTS, PATIENCE_MS);
    const others = everybody.filter((publisher) => publisher !== name);
    assert.deepEqual(byPublisher(log.entries.map(({ payload }) => payload)), eachOnce(others, EVENTS));
    assert.equal(gaps.length, 0);
  }
  for (const [index, { worker, says }] of hubs.entries()) {
    worker.postMessage({ wait: (everybody.length - 1) * EVENTS });
    const { heard, stats } = await says.has((said) => said.heard, 'what the hub heard', PATIENCE_MS);
    const others = everybody.filter((publisher) => publisher !== `hub ${index}`);
    assert.deepEqual(byPublisher(heard), eachOnce(others, EVENTS));
    const isOfOtherHub = (publisher) => !publisher.endsWith(` of ${index}`);
    assert.ok(heard.every(([publisher, , isUnknown]) => isUnknown === isOfOtherHub(publisher)));
    const { backplanePublished, backplaneReceived, backplaneDropped, backplaneGaps, backplaneTopics } = stats;
    assert.deepEqual(
      { backplanePublished, backplaneReceived, backplaneDropped, backplaneGaps, backplaneTopics },
      {
        backplanePublished: 3 * EVENTS,
        backplaneReceived: 3 * EVENTS,
        backplaneDropped: 0,
        backplaneGaps: 0,
        backplaneTopics: 1,
      },
    );
  }
});

test('hubs of one thread are joined as well, by createHub as by the WebSocket factory', async (t) => {
  const name = freshName();
  const first = await makeHub(t, { backplane: busOf(t, name) });
  const second = createHub({ websocket: { listen: { port: 0 } }, backplane: busOf(t, name) });
  t.after(() => second.close({ timeoutMs: 0 }));
  await second.ready();
  const sources = [];
  second.addEventListener('a:1', (event) => sources.push(second.sourceOf(event)));
  const heard = listenTo(second, 'a:1');
  assert.deepEqual(await second.ready('a:1'), { acknowledged: true });
  const spoke = await makeOpenSpoke(t, second);
  const onSpoke = listenTo(spoke, 'a:1');
  await spoke.ready('a:1');
  const plain = await BareClient.to(t, second);
  await plain.subscribe(second, 'a:1');
  createPubSub({ eventTarget: first }).publish('a', '1', { text: 'é"' });
  for (const log of [heard, onSpoke]) {
    await log.reaches(1);
    assert.deepEqual(log.entries[0], { type: 'a', id: '1', payload: { text: 'é"' } });
  }
  assert.deepEqual(sources, [undefined]);
  await plain.frames.reaches(1);
  assert.equal(first.stats().unrouted, 0);
  first.dispatchEvent(createEvent('nobody', '1', 1));
  await first.flush();
  assert.deepEqual([first.stats().unrouted, first.stats().backplanePublished], [1, 1]);
});

test('a hub hears what members of the bus dispatch, and they hear the hub', async (t) => {
  const name = freshName();
  const hub = await makeHub(t, { backplane: busOf(t, name) });
  const member = busOf(t, name);
  const [onHub, onBus] = [listenTo(hub, 'a:1'), listenTo(member, 'b:1')];
  await Promise.all([hub.ready('a:1'), member.ready('b:1')]);
  member.dispatchEvent(createEvent('a', '1', 1));
  hub.dispatchEvent(createEvent('b', '1', 2));
  await Promise.all([onHub.reaches(1), onBus.reaches(1)]);
  assert.deepEqual([onHub.entries[0].payload, onBus.entries[0].payload], [1, 2]);
});

test('a backplane that is closed leaves a gap and an error, and the hub goes on alone', async (t) => {
  const backplane = createProcessEventTarget(freshName());
  const hub = await makeHub(t, { backplane });
  const spoke = await makeOpenSpoke(t, hub);
  const heard = listenTo(spoke, 'a:1');
  await spoke.ready('a:1');
  const told = Promise.all([next(spoke, 'gap'), next(hub, 'error')]);
  await backplane.close();
  const [gap, error] = await told;
  assert.deepEqual([gap.cause, gap.topics, error.code], ['upstream', ['a:1'], 'ERR_CLOSED']);
  hub.dispatchEvent(createEvent('a', '1', 1));
  await heard.reaches(1);
  hub.addEventListener('b:1', () => {});
  assert.deepEqual(await within(hub.ready('b:1'), 'an answer'), { acknowledged: false });
  assert.equal(hub.stats().backplaneDropped, 1);
});

test('a hub that closes leaves its backplane to its owner', async (t) => {
  const backplane = createProcessEventTarget(freshName());
  const hub = await makeHub(t, { backplane });
  await eventually(() => backplane.stats().members === 2, 'the hub is a member');
  await hub.close();
  assert.deepEqual([backplane.stats().members, backplane.state], [1, 'open']);
  await backplane.close();
});

test('a thread that is terminated in the middle harms the others in nothing', async (t) => {
  const name = freshName();
  const hub = await makeHub(t, { backplane: busOf(t, name), relay: true });
  const member = busOf(t, name);
  const log = listenTo(hub, 'n:1');
  const gaps = listenTo(hub, 'gap');
  const doomed = await startHub(t, { name, topic: 'n:1' });
  const spoke = await makeOpenSpoke(t, doomed.url);
  const survivor = await makeOpenSpoke(t, hub);
  for (let n = 0; n < 1000; n++) {
    spoke.dispatchEvent(createEvent('n', '1', ['doomed', n]));
    survivor.dispatchEvent(createEvent('n', '1', ['survivor', n]));
    if (n === 500) await within(doomed.worker.terminate(), 'terminate()');
  }
  await eventually(
    () => log.entries.filter(({ payload: [publisher] }) => publisher === 'survivor').length === 1000,
    'everything of the hub that lives',
  );
  const heard = byPublisher(log.entries.map(({ payload }) => payload));
  assert.deepEqual(heard.survivor, eachOnce(['survivor'], 1000).survivor);
  const ofDoomed = heard.doomed ?? [];
  assert.deepEqual(
    ofDoomed,
    eachOnce(['doomed'], ofDoomed.length).doomed,
    'in order and without a hole, up to its end',
  );
  await eventually(() => member.stats().members === 3, 'the dead hub has left: the bus twice, and this hub');
  assert.equal(gaps.length, 0);
});

test('the example runs, and every hub has everything', async () => {
  const example = fileURLToPath(new URL('../../examples/backplane/main.mjs', import.meta.url));
  const { error, stdout, stderr } = await new Promise((resolve) => {
    const run = [example, '3', '1000'];
    execFile(process.execPath, run, { timeout: PATIENCE_MS, killSignal: 'SIGKILL' }, (error, stdout, stderr) =>
      resolve({ error, stdout, stderr }),
    );
  });
  assert.equal(error, null, stdout + stderr);
  assert.equal(stderr, '');
  assert.match(stdout, /^everybody has everything$/m);
  assert.equal([...stdout.matchAll(/its spoke heard 2000, 0 out of order, 0 gaps/g)].length, 3);
  assert.equal([...stdout.matchAll(/to other hubs 1000, from them 2000, dropped 0/g)].length, 3);
});

test('what joins no hubs is refused as a backplane', () => {
  for (const backplane of [{}, 'redis://127.0.0.1', null, new EventTarget()]) {
    for (const make of [createHub, createWebSocketServerEventTarget]) {
      assert.throws(() => make({ backplane }), {
        name: 'TypeError',
        code: 'ERR_INVALID_OPTION',
        message: /^backplane must be a target that joins hubs/,
      });
    }
  }
});
