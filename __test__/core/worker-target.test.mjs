// Worker targets against a bare port, which shows what is said, and against real workers that end in every way.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { MessageChannel, Worker } from 'node:worker_threads';
import { createWorkerHostEventTarget, createWorkerThreadEventTarget } from '../../dist/event-target-worker.js';
import { createEvent } from '../../dist/index.js';
import { Log, next, turn, within } from '../websocket/facts.mjs';

/** A target and the bare port at the other end of its channel. */
function makeTarget(t, options) {
  const { port1, port2 } = new MessageChannel();
  const target = createWorkerHostEventTarget(port1, options);
  const log = new Log();
  port2.on('message', (message) => log.push(message));
  t.after(() => port2.close());
  const say = (type, payload, id = '') => port2.postMessage({ type, id, payload });
  const hello = (...topics) => {
    say('__hello', { version: 1, role: 'peer', features: ['credit'], session: 'bare', topics: topics.length });
    topics.forEach((topic, n) => {
      say('__subscribe', { topic, n });
    });
  };
  const events = () => log.entries.filter(({ type }) => !type.startsWith('__'));
  return { target, log, say, hello, events, port1, port2 };
}

const isType = (type) => (message) => message.type === type;
const costOf = (topic, payload) => topic.length + JSON.stringify(payload).length + 64;

test('a port that keeps its messages until it is started is started', async (t) => {
  const { port1, port2 } = new MessageChannel();
  // A port of the web, as browsers and Deno have it: listeners that are added start nothing.
  const port = new EventTarget();
  const deliver = (data) => port.dispatchEvent(new MessageEvent('message', { data }));
  Object.assign(port, {
    postMessage: (message) => port2.postMessage(message),
    start: () => port2.on('message', deliver),
  });
  const targets = [port, port1].map((end) => createWorkerHostEventTarget(end));
  t.after(async () => {
    await Promise.all(targets.map((target) => target.close({ timeoutMs: 0 })));
    port2.close();
  });
  await within(Promise.all(targets.map((target) => target.ready())), 'both ends are there');
});

test('hello and subscriptions of a turn go out together, answers and events as plain objects', async (t) => {
  const { target, log, say, hello } = makeTarget(t);
  target.addEventListener('a:b', () => {});
  await log.reaches(2);
  const [{ payload: greeting, ...rest }, subscription] = log.entries.splice(0);
  const { session, ...facts } = greeting;
  assert.deepEqual(rest, { type: '__hello', id: '' });
  assert.match(session, /^[a-z0-9]{5,}$/);
  assert.deepEqual(facts, { version: 1, role: 'peer', features: ['credit'], topics: 1 });
  assert.deepEqual(subscription, { type: '__subscribe', id: '', payload: { topic: 'a:b', n: 1 } });
  hello('c:d');
  assert.deepEqual(await next(target, 'open'), { reconnected: false, native: true });
  assert.deepEqual(
    (await log.reaches(3)).splice(0).map(({ type }) => type),
    ['__hello', '__subscribe', '__subscribed'],
  );
  const ready = target.ready('a:b');
  say('__subscribed', { topic: 'a:b', n: 1 });
  assert.deepEqual(await ready, { acknowledged: true });
  target.dispatchEvent(createEvent('c', 'd', { at: new Date(0), gone: undefined }));
  target.dispatchEvent(createEvent('nobody', 'wants', 1));
  const payload = { at: '1970-01-01T00:00:00.000Z' };
  await log.reaches(1);
  assert.deepEqual(log.entries.splice(0), [{ type: 'c', id: 'd', payload, _cost: costOf('c:d', payload) }]);
  assert.equal(target.stats().unrouted, 1);
  await target.close();
  await log.has(isType('__bye'), 'a farewell');
});

test('what waits for the other end goes out as far as it is wanted; the bound drops the newest and says so', async (t) => {
  const cost = costOf('a:b', 1);
  const { target, log, hello, events } = makeTarget(t, { maxBufferedAmount: 3 * cost });
  const errors = new Log();
  target.addEventListener('error', ({ detail }) => errors.push(detail));
  for (const [n, id] of ['b', 'c', 'b', 'b'].entries()) target.dispatchEvent(createEvent('a', id, n));
  assert.equal(target.bufferedAmount, 3 * cost);
  await errors.reaches(1);
  assert.deepEqual([errors.entries[0].code, errors.entries[0].dropped], ['ERR_BUFFER_FULL', 1]);
  await turn();
  assert.deepEqual(events(), []);
  hello('a:b');
  await log.has(isType('__gap'), 'a gap');
  assert.deepEqual(
    events().map(({ payload }) => payload),
    [0, 2],
  );
  const { payload: gap } = log.entries.at(-1);
  assert.deepEqual([gap.cause, gap.topics, gap.dropped], ['overflow', ['a:b'], 1]);
  const { unrouted, dropped, sent } = target.stats();
  assert.deepEqual({ unrouted, dropped, sent }, { unrouted: 1, dropped: 1, sent: 2 });
  await target.close();
});

test('one event alone may always wait', async (t) => {
  const { target, log, hello, events } = makeTarget(t, { maxBufferedAmount: 1, maxPendingBytes: 1 });
  target.dispatchEvent(createEvent('a', 'b', 'x'.repeat(3_000_000)));
  hello('a:b');
  await log.has(isType('a'), 'the event');
  assert.equal(events().length, 1);
  await target.close();
});

test('without credit a window is posted and the rest waits; credit lets it go on, and flush waits for all of it', async (t) => {
  const { target, log, say, hello, events } = makeTarget(t);
  hello('a:b');
  await next(target, 'open');
  const text = 'x'.repeat(1000);
  const cost = costOf('a:b', text);
  const window = Math.floor(1_048_576 / cost);
  for (let n = 0; n < 1500; n++) target.dispatchEvent(createEvent('a', 'b', text));
  let isFlushed = false;
  const flushed = target.flush().then(() => (isFlushed = true));
  const drained = target.drain();
  await log.has(() => events().length === window, 'a window of events');
  await turn();
  assert.deepEqual([events().length, target.bufferedAmount], [window, 1500 * cost]);
  say('__credit', { bytes: cost * 10, events: 10 });
  await log.has(() => events().length === window + 10, 'ten more');
  for (const credit of [{}, { bytes: -1, events: 1 }, { bytes: 0.5, events: 1 }, { bytes: 1e12, events: 1 }])
    say('__credit', credit);
  say('__credit', { bytes: cost * window, events: window });
  await log.has(() => events().length === 1500, 'the rest');
  say('__credit', { bytes: cost * 30, events: 30 });
  await within(drained, 'drain()');
  assert.equal(isFlushed, false);
  say('__credit', { bytes: cost * (1460 - window), events: 1460 - window });
  await within(flushed, 'flush()');
  assert.deepEqual([target.bufferedAmount, target.stats().ignoredControls], [0, 4]);
  await target.close();
});

test('events that find no room are counted, reported, and told of in their place', async (t) => {
  const text = 'x'.repeat(1000);
  const cost = costOf('a:b', text);
  const window = Math.floor(1_048_576 / cost);
  const { target, log, say, hello, events } = makeTarget(t, { maxPendingBytes: (window + 2) * cost });
  hello('a:b');
  await next(target, 'open');
  const errors = new Log();
  target.addEventListener('error', ({ detail }) => errors.push(detail));
  for (let n = 0; n < window + 7; n++) target.dispatchEvent(createEvent('a', 'b', text));
  say('__credit', { bytes: cost * 4, events: 4 });
  await log.has(isType('__gap'), 'a gap');
  assert.equal(events().length, window + 2);
  assert.deepEqual(log.entries.at(-1).payload.dropped, 5);
  await errors.has(({ dropped }) => dropped === 4, 'the four behind the first');
  assert.deepEqual(
    errors.entries.map(({ code, dropped }) => [code, dropped]),
    [
      ['ERR_BUFFER_FULL', 1],
      ['ERR_BUFFER_FULL', 4],
    ],
  );
  assert.equal(target.stats().dropped, 5);
  await target.close();
});

test('a gap of the other end is raised for topics that have listeners, and bad control events are ignored', async (t) => {
  const { target, say, hello } = makeTarget(t);
  const gaps = new Log();
  target.addEventListener('gap', ({ detail }) => gaps.push(detail));
  target.addEventListener('a:b', () => {});
  say('__subscribe', { topic: 'before:hello' });
  say('__hello', { session: 7, topics: 0 });
  say('__hello', { session: 's', topics: -1 });
  hello();
  await next(target, 'open');
  say('__gap', { cause: 'overflow', from: 1, to: 2, topics: ['x:y'], dropped: 1 });
  say('__gap', { cause: 'overflow', from: 1, to: 2, topics: ['a:b', 'x:y'], dropped: 3 });
  for (const bad of [{}, { topic: 7 }, { topic: '' }]) say('__subscribe', bad);
  say('__subscribed', { topic: 'a:b', n: 99 });
  say('__whatever', null);
  say('__hello', { session: 'bare', topics: 0 });
  say('a', 'end', 'b');
  await next(target, 'a:b');
  assert.deepEqual(gaps.entries, [{ cause: 'upstream', direction: 'in', from: 1, to: 2, topics: ['a:b'], dropped: 3 }]);
  assert.equal(target.stats().ignoredControls, 9);
  await target.close();
});

test('handlers that were there stay, get what is not ours, and are as before after close()', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.after(() => port2.close());
  const [handled, listened] = [new Log(), new Log()];
  const handler = ({ data }) => handled.push(data);
  port1.onmessage = handler;
  port1.on('message', (data) => listened.push(data));
  const target = createWorkerHostEventTarget(port1);
  const heard = next(target, 'a:b');
  const foreign = ['text', 7, null, { type: 7, id: '' }, { type: 'a' }, { type: '', id: '' }, [], { kind: 'job' }];
  for (const message of foreign) port2.postMessage(message);
  port2.postMessage({ type: 'a', id: 'b' });
  assert.deepEqual(await heard, { type: 'a', id: 'b', payload: null });
  assert.deepEqual(handled.entries, foreign);
  assert.deepEqual(listened.entries, [...foreign, { type: 'a', id: 'b' }]);
  await target.close();
  assert.equal(port1.onmessage, handler);
  assert.deepEqual([port1.listenerCount('message'), port1.listenerCount('close')], [2, 0]);
  port2.postMessage({ type: 'a', id: 'b' });
  await handled.reaches(foreign.length + 1);
});

test('a target that was made anew at the other end hears again what it listens to', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.after(() => port2.close());
  const a = createWorkerHostEventTarget(port1);
  const opens = new Log();
  a.addEventListener('open', ({ detail }) => opens.push(detail));
  for (let round = 0; round < 3; round++) {
    const b = createWorkerHostEventTarget(port2);
    const heard = next(b, 'a:b');
    const answered = next(a, 'c:d');
    await Promise.all([b.ready('a:b'), a.ready('c:d')]);
    a.dispatchEvent(createEvent('a', 'b', round));
    b.dispatchEvent(createEvent('c', 'd', round));
    assert.deepEqual([(await heard).payload, (await answered).payload], [round, round]);
    await b.close();
    a.dispatchEvent(createEvent('a', 'b', 'nobody'));
  }
  assert.deepEqual(
    opens.entries.map(({ reconnected }) => reconnected),
    [false, true, true],
  );
  await within(a.flush(), 'flush() without another end');
  await a.close();
});

test('close() waits for room until its time-out, then drops, counts and reports', async (t) => {
  const { target, log } = makeTarget(t);
  const error = next(target, 'error');
  for (let n = 0; n < 3; n++) target.dispatchEvent(createEvent('a', 'b', n));
  await target.close({ timeoutMs: 1, code: 4000, reason: 'enough' });
  const { code, dropped } = await error;
  assert.deepEqual([code, dropped, target.stats().dropped], ['ERR_CLOSED', 3, 3]);
  assert.deepEqual(await target.closed, { code: 4000, reason: 'enough' });
  await log.has(isType('__bye'), 'a farewell');
});

test('mistakes are told at once', () => {
  assert.throws(createWorkerThreadEventTarget, { name: 'PubSubError', code: 'ERR_NOT_A_WORKER' });
  for (const worker of [undefined, {}, { postMessage() {} }])
    assert.throws(() => createWorkerHostEventTarget(worker), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
  const { port1 } = new MessageChannel();
  for (const options of [{ maxBufferedAmount: 0 }, { echo: 1 }, { peer: 'plain' }, null])
    assert.throws(() => createWorkerHostEventTarget(port1, options), { code: 'ERR_INVALID_OPTION' });
  port1.close();
});

test('echo: own listeners hear what JSON made of it', async (t) => {
  const { target, hello } = makeTarget(t, { echo: true });
  hello();
  await next(target, 'open');
  const heard = next(target, 'a:b');
  target.dispatchEvent(createEvent('a', 'b', [undefined]));
  assert.deepEqual((await heard).payload, [null]);
  await target.close();
});

// ---- How workers end -------------------------------------------------------------------------------------------------------------

/** A worker with a target, which then does as it is told. */
function workerThat(source, options) {
  const module = JSON.stringify(new URL('../../dist/event-target-worker.js', import.meta.url).href);
  const code = `import(${module}).then(async ({ createWorkerThreadEventTarget }) => {
    const target = createWorkerThreadEventTarget();
    ${source}
  });`;
  return new Worker(code, { eval: true, ...options });
}

for (const [how, source, code, isError] of [
  ['exits with code 0', 'await target.ready(); process.exit(0);', 1001, false],
  ['exits with code 3', 'await target.ready(); process.exit(3);', 1006, true],
  ['ends by itself', 'await target.ready();', 1001, false],
  ['fails', 'await target.ready(); setImmediate(() => { throw new Error("mine"); });', 1011, true],
]) {
  test(`a worker that ${how} ends its host's target with ${code}`, async () => {
    const worker = workerThat(source);
    const mine = [];
    worker.on('error', (error) => mine.push(error.message));
    const target = createWorkerHostEventTarget(worker);
    target.addEventListener('error', () => {});
    const detail = await within(target.closed, 'the end');
    assert.deepEqual([detail.code, detail.error?.code], [code, isError ? 'ERR_CONNECTION_LOST' : undefined]);
    if (how === 'fails') assert.deepEqual([detail.error.cause.message, mine], ['mine', ['mine']]);
    assert.equal(target.state, 'closed');
  });
}

test('a worker that is terminated ends the target with 1006, and says how many events nobody acknowledged', async () => {
  const worker = workerThat(`target.addEventListener('a:b', () => { for (;;); });`);
  const target = createWorkerHostEventTarget(worker);
  await within(target.ready(), 'the worker');
  const error = next(target, 'error');
  for (let n = 0; n < 5000; n++) target.dispatchEvent(createEvent('a', 'b', 'x'.repeat(1000)));
  await worker.terminate();
  const { code, error: cause } = await within(target.closed, 'the end');
  assert.deepEqual([code, cause.code, cause.dropped], [1006, 'ERR_CONNECTION_LOST', 5000]);
  assert.equal(await error, cause);
});

test('a worker that publishes and ends loses nothing, and one that listens stays until its target is closed', async () => {
  const publisher = workerThat(`
    await target.ready();
    const { type, id } = { type: 'a', id: 'b' };
    for (let n = 0; n < 5000; n++)
      target.dispatchEvent(new CustomEvent('a:b', { detail: { type, id, payload: 'x'.repeat(1000) } }));
  `);
  const target = createWorkerHostEventTarget(publisher);
  const heard = new Log();
  target.addEventListener('a:b', ({ detail }) => heard.push(detail.payload));
  const [code] = await within(once(publisher, 'exit'), 'the end of the publisher');
  assert.deepEqual([code, heard.length], [0, 5000]);

  const listener = workerThat(`target.addEventListener('stop:', () => target.close(), { once: false });`);
  const host = createWorkerHostEventTarget(listener);
  const exit = once(listener, 'exit');
  await within(host.ready(), 'the listener');
  host.dispatchEvent(createEvent('stop', '', null));
  assert.deepEqual(await within(exit, 'the end of the listener'), [0]);
  assert.equal((await host.closed).code, 1001);
});
