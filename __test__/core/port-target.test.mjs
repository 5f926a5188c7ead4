// The target over a native port, against a port that is played by the test: dispatch, delivery, life cycle.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent, PubSubError } from '../../dist/index.js';
import { PortTarget } from '../../dist/native-target.js';
import { FakePort } from './fake-port.mjs';

/** A target over a fake port that is closed when the test ends, so that it does not hold the process. */
function make(context, options) {
  const port = new FakePort();
  const target = new PortTarget(port, options);
  context.after(async () => {
    if (target.state === 'closed') return;
    target.addEventListener('error', () => {});
    port.notice({ kind: 'closed', code: 1000, reason: '' });
    await target.closed;
  });
  return { port, target };
}

/** Names and details of the life-cycle events of a target, as they come. */
function record(target, ...names) {
  const seen = [];
  for (const name of names) target.addEventListener(name, ({ type, detail }) => seen.push([type, detail]));
  return seen;
}

const open = { kind: 'open', reconnected: false, native: true };
const closed = { kind: 'closed', code: 1000, reason: '' };

// ---- Out ------------------------------------------------------------------------------------------------------------------------

test('a pair goes by name on its first sight, is interned on its second and goes by number from then on', (t) => {
  const { port, target } = make(t);
  for (const n of [1, 2, 3]) target.dispatchEvent(createEvent('chat.msg', 'r1', { n }));
  assert.deepEqual(port.calls, [
    ['publishOnce', 'chat.msg', 'r1', '{"n":1}'],
    ['intern', 'chat.msg', 'r1'],
    ['publish', 101, '{"n":2}'],
    ['publish', 101, '{"n":3}'],
  ]);
});

test('a stale pair is interned again and the event sent again', (t) => {
  const { port, target } = make(t);
  for (const n of [1, 2]) target.dispatchEvent(createEvent('a', 'b', n));
  port.calls = [];
  port.statuses = [1];
  target.dispatchEvent(createEvent('a', 'b', 3));
  assert.deepEqual(port.calls, [
    ['publish', 101, '3'],
    ['intern', 'a', 'b'],
    ['publish', 102, '3'],
  ]);
});

test('of two pairs that share a topic one has the number and the other goes by name', (t) => {
  const { port, target } = make(t);
  for (let i = 0; i < 3; i++) {
    target.dispatchEvent(createEvent('a', 'b:c', i));
    target.dispatchEvent(createEvent('a:b', 'c', i));
  }
  assert.deepEqual(port.calls, [
    ['publishOnce', 'a', 'b:c', '0'],
    ['intern', 'a:b', 'c'],
    ['publish', 101, '0'],
    ['publishOnce', 'a', 'b:c', '1'],
    ['publish', 101, '1'],
    ['publishOnce', 'a', 'b:c', '2'],
    ['publish', 101, '2'],
  ]);
});

test('ids that never come again are never interned, and a frequent pair stays known among them', (t) => {
  const { port, target } = make(t);
  for (let i = 0; i < 50_000; i++) {
    target.dispatchEvent(createEvent('call', `${i}`, null));
    if (i % 500 === 0) target.dispatchEvent(createEvent('often', '', null));
  }
  assert.deepEqual(port.of('intern'), [['often', '']]);
  assert.equal(port.of('publishOnce').length, 50_001);
});

test('payloads travel as JSON.stringify makes them', (t) => {
  const { port, target } = make(t);
  const forms = [
    undefined,
    Number.NaN,
    new Date(0),
    { toJSON: () => 'own' },
    { toJSON: () => undefined },
    [undefined],
    '\ud800',
  ];
  for (const payload of forms) target.dispatchEvent(createEvent('a', String(forms.indexOf(payload)), payload));
  assert.deepEqual(
    port.of('publishOnce').map(([, , json]) => json),
    ['null', 'null', '"1970-01-01T00:00:00.000Z"', '"own"', 'null', '[null]', '"\\ud800"'],
  );
});

test('misuse throws and sends nothing', (t) => {
  const { port, target } = make(t);
  const cycle = {};
  cycle.cycle = cycle;
  const custom = (type, detail) => new CustomEvent(type, { detail });
  const message = 'expected "type:id", got "chat"; for an empty id write "chat:"';
  assert.throws(() => target.dispatchEvent(new Event('chat')), {
    name: 'TypeError',
    code: 'ERR_INVALID_TOPIC',
    message,
  });
  assert.throws(() => target.addEventListener('chat', () => {}), {
    name: 'TypeError',
    code: 'ERR_INVALID_TOPIC',
    message,
  });
  assert.throws(() => target.dispatchEvent(custom('a:b', { type: 'a', id: 'c' })), { code: 'ERR_TOPIC_MISMATCH' });
  assert.throws(() => target.dispatchEvent(custom('a:b')), { code: 'ERR_TOPIC_MISMATCH' });
  assert.throws(() => target.dispatchEvent(custom(':b', { type: '', id: 'b' })), { code: 'ERR_INVALID_TOPIC' });
  assert.throws(() => target.dispatchEvent(custom('a:\udc00', { type: 'a', id: '\udc00' })), {
    code: 'ERR_INVALID_TOPIC',
  });
  assert.throws(() => target.dispatchEvent(custom('__hello:', { type: '__hello', id: '' })), {
    code: 'ERR_RESERVED_TYPE',
  });
  const throwing = {
    toJSON() {
      throw new Error('own');
    },
  };
  for (const payload of [() => {}, Symbol('s'), 1n, cycle, throwing]) {
    assert.throws(() => target.dispatchEvent(createEvent('a', 'b', payload)), {
      name: 'TypeError',
      code: 'ERR_NOT_SERIALIZABLE',
    });
  }
  assert.deepEqual(port.calls, []);
});

test('an event that is too large throws; one without room, and one after the end, does not', (t) => {
  const { port, target } = make(t);
  port.statuses = [2, 3, 4];
  assert.throws(() => target.dispatchEvent(createEvent('a', '1', 1)), {
    name: 'PubSubError',
    code: 'ERR_MESSAGE_TOO_LARGE',
  });
  assert.equal(target.dispatchEvent(createEvent('a', '2', 1)), true);
  assert.equal(target.dispatchEvent(createEvent('a', '3', 1)), true);
});

test('own listeners hear own events only with echo, and then as JSON made them', (t) => {
  const quiet = make(t);
  const echoing = make(t, { echo: true });
  const seen = [];
  quiet.target.addEventListener('a:b', () => assert.fail('no echo'));
  echoing.target.addEventListener('a:b', (event) => seen.push(event.detail, event.target === echoing.target));
  for (const { target } of [quiet, echoing])
    target.dispatchEvent(createEvent('a', 'b', { gone: undefined, at: new Date(0) }));
  echoing.port.statuses = [3];
  echoing.target.dispatchEvent(createEvent('a', 'b', 'dropped'));
  assert.deepEqual(seen, [{ type: 'a', id: 'b', payload: { at: '1970-01-01T00:00:00.000Z' } }, true]);
});

test('life-cycle names can be dispatched to own listeners and never travel', (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'open');
  target.dispatchEvent(new CustomEvent('open', { detail: 1 }));
  assert.deepEqual(seen, [['open', 1]]);
  assert.deepEqual(port.calls, []);
});

// ---- In -------------------------------------------------------------------------------------------------------------------------

test('interest in a topic is told on its first listener and on its last removal, never for life-cycle names', (t) => {
  const { port, target } = make(t);
  const listener = () => {};
  for (const name of ['a:b', 'open']) {
    target.addEventListener(name, listener);
    target.addEventListener(name, () => {}, { once: true });
    target.addEventListener(name, listener);
    target.removeEventListener(name, listener);
  }
  assert.deepEqual(port.calls, [['listen', 'a:b']]);
});

test('events and life-cycle events are heard in the order in which the engine queued them', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'open', 'a:1', 'a:2', 'gap');
  const gap = { cause: 'connection-lost', direction: 'in', from: 1, to: 2, topics: ['a:1'] };
  port.notice(open);
  port.first(5, 'a', '1', 'x');
  port.first(9, 'a', '2', { deep: [1, 2] });
  port.again(5, 'y');
  port.notice({ kind: 'gap', ...gap });
  port.again(9, null);
  await port.delivered();
  assert.deepEqual(seen, [
    ['open', { reconnected: false, native: true }],
    ['a:1', { type: 'a', id: '1', payload: 'x' }],
    ['a:2', { type: 'a', id: '2', payload: { deep: [1, 2] } }],
    ['a:1', { type: 'a', id: '1', payload: 'y' }],
    ['gap', gap],
    ['a:2', { type: 'a', id: '2', payload: null }],
  ]);
});

test('a pair that takes the slot of another replaces it', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'a:1', 'b:2');
  port.first(5, 'a', '1', 1);
  port.first(5, 'b', '2', 2);
  port.again(5, 3);
  await port.delivered();
  assert.deepEqual(
    seen.map(([topic, { payload }]) => [topic, payload]),
    [
      ['a:1', 1],
      ['b:2', 2],
      ['b:2', 3],
    ],
  );
});

test('more than one batch is taken one per turn of the loop, in order', async (t) => {
  const { port, target } = make(t);
  const seen = [];
  target.addEventListener('a:1', (event) => seen.push(event.detail.payload));
  port.batch = 10;
  port.first(1, 'a', '1', 0);
  for (let n = 1; n < 100; n++) port.again(1, n);
  await port.delivered();
  assert.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, n) => n),
  );
});

test('a listener that throws stops neither its event nor its batch', async (t) => {
  const { port, target } = make(t);
  const error = new Error('from a listener');
  const seen = [];
  const uncaught = new Promise((resolve) => {
    const before = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.once('uncaughtException', (caught) => {
      for (const listener of before) process.on('uncaughtException', listener);
      resolve(caught);
    });
  });
  target.addEventListener('a:1', ({ detail }) => {
    if (detail.payload === 1) throw error;
  });
  target.addEventListener('a:1', ({ detail }) => seen.push(detail.payload));
  port.first(1, 'a', '1', 1);
  port.again(1, 2);
  assert.equal(await uncaught, error);
  await port.delivered();
  assert.deepEqual(seen, [1, 2]);
});

test('an entry that is no JSON costs itself alone and is reported as ERR_MALFORMED', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'a:1', 'b:2', 'error');
  port.first(1, 'a', '1', 'x,]"[');
  port.again(1, undefined, { text: '{"broken' });
  port.again(1, [1, 2]);
  port.first(2, 'b', '2', 3);
  await port.delivered();
  const [error] = seen.filter(([name]) => name === 'error').map(([, detail]) => detail);
  assert(error instanceof PubSubError);
  assert.deepEqual([error.code, error.dropped, error.cause.name], ['ERR_MALFORMED', 1, 'SyntaxError']);
  assert.deepEqual(
    seen.filter(([name]) => name !== 'error').map(([topic, { payload }]) => [topic, payload]),
    [
      ['a:1', 'x,]"['],
      ['a:1', [1, 2]],
      ['b:2', 3],
    ],
  );
});

test('text that would move the entries behind it to other topics moves none', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'a:1', 'b:2');
  target.addEventListener('error', () => {});
  port.first(1, 'a', '1', 0);
  port.first(2, 'b', '2', 0);
  port.again(1, undefined, { text: '1,2' });
  port.again(2, 'own');
  await port.delivered();
  assert.deepEqual(
    seen.map(([topic, { payload }]) => [topic, payload]),
    [
      ['a:1', 0],
      ['b:2', 0],
      ['b:2', 'own'],
    ],
  );
});

test('a pair whose first delivery cannot be read is not taken for the one that had its slot', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'a:1');
  target.addEventListener('error', () => {});
  port.first(1, 'a', '1', 0);
  port.entry((0x80000000 | 4096 | 1) >>> 0, '["b","2"', 0);
  port.again(1, 'of b:2');
  await port.delivered();
  assert.equal(seen.length, 1);
});

test('a topic named __proto__ and a payload with such a key are like any other', async (t) => {
  const { port, target } = make(t);
  let payload;
  target.addEventListener('__proto__:x', (event) => (payload = event.detail.payload));
  port.entry((0x80000000 | 4096 | 1) >>> 0, '["__proto__","x",{"__proto__":{"polluted":1}}]', 0);
  await port.delivered();
  assert.deepEqual(Object.keys(payload), ['__proto__']);
  assert.equal({}.polluted, undefined);
});

// ---- Life cycle -----------------------------------------------------------------------------------------------------------------

test('the state follows the notices, and each is an event', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'open', 'reconnecting', 'close');
  const states = [target.state];
  const step = async (notice) => {
    port.notice(notice);
    await port.delivered();
    states.push(target.state);
  };
  await step(open);
  await step({
    kind: 'reconnecting',
    attempt: 1,
    delayMs: 250,
    cause: { code: 'ERR_CONNECTION_LOST', message: 'reset' },
  });
  await step({ ...open, reconnected: true, native: false });
  await step({ kind: 'closed', code: 1002, reason: 'bad', error: { code: 'ERR_PROTOCOL', message: 'bad frame' } });
  assert.deepEqual(states, ['connecting', 'open', 'reconnecting', 'open', 'closed']);
  assert.deepEqual(
    seen.map(([name]) => name),
    ['open', 'reconnecting', 'open', 'close'],
  );
  const [, { attempt, delayMs, cause }] = seen[1];
  assert.deepEqual([attempt, delayMs, cause.code, cause instanceof PubSubError], [1, 250, 'ERR_CONNECTION_LOST', true]);
  const { code, reason, error } = await target.closed;
  assert.deepEqual([code, reason, error.code], [1002, 'bad', 'ERR_PROTOCOL']);
});

test('ready() resolves when the link is admitted and again at once while it is', async (t) => {
  const { port, target } = make(t);
  const early = target.ready();
  port.notice({ ...open, native: false });
  assert.deepEqual(await early, { acknowledged: false });
  assert.deepEqual(await target.ready(), { acknowledged: false });
});

test('ready() rejects with what ended the target', async (t) => {
  const { port, target } = make(t);
  const ready = target.ready();
  port.notice({ ...closed, error: { code: 'ERR_LISTEN', message: 'address in use' } });
  await assert.rejects(ready, { name: 'PubSubError', code: 'ERR_LISTEN' });
  await assert.rejects(target.ready(), { code: 'ERR_CLOSED' });
});

test('ready(topic) is the answer to a confirmation, which all who wait for the topic share until it comes', async (t) => {
  const { port, target } = make(t);
  for (const topic of ['a:1', 'a:2']) target.addEventListener(topic, () => {});
  const waits = [target.ready('a:1'), target.ready('a:1'), target.ready('a:2')];
  await port.delivered();
  assert.deepEqual(port.of('confirm'), [['a:1'], ['a:2']]);
  port.notice({ kind: 'confirmed', token: 1, acknowledged: false });
  port.notice({ kind: 'confirmed', token: 2, acknowledged: false, error: { code: 'ERR_FORBIDDEN', message: 'no' } });
  assert.deepEqual(await Promise.all(waits.slice(0, 2)), [{ acknowledged: false }, { acknowledged: false }]);
  await assert.rejects(waits[2], { code: 'ERR_FORBIDDEN' });
  const again = target.ready('a:1');
  await port.delivered();
  assert.deepEqual(port.of('confirm'), [['a:1'], ['a:2'], ['a:1']]);
  port.notice({ kind: 'confirmed', token: 3, acknowledged: true });
  assert.deepEqual(await again, { acknowledged: true });
});

test('a hundred thousand aborted waits for one topic ask once and leave the one that stays', async (t) => {
  const { port, target } = make(t);
  target.addEventListener('a:1', () => {});
  const stays = target.ready('a:1');
  for (let n = 0; n < 100_000; n++) {
    const controller = new AbortController();
    target.ready('a:1', { signal: controller.signal });
    controller.abort();
  }
  await port.delivered();
  assert.deepEqual(port.of('confirm'), [['a:1']]);
  port.notice({ kind: 'confirmed', token: 1, acknowledged: true });
  assert.deepEqual(await stays, { acknowledged: true });
});

test('ready(topic) rejects without a listener, when the last one goes, when the target closes and when its signal is aborted', async (t) => {
  const { port, target } = make(t);
  await assert.rejects(target.ready('a:b'), { code: 'ERR_NOT_SUBSCRIBED' });
  const listener = () => {};
  target.addEventListener('a:b', listener);
  const left = target.ready('a:b');
  await port.delivered();
  target.removeEventListener('a:b', listener);
  await assert.rejects(left, { code: 'ERR_NOT_SUBSCRIBED' });
  target.addEventListener('a:b', listener);
  const controller = new AbortController();
  const aborted = target.ready('a:b', { signal: controller.signal });
  const alive = target.ready('a:b');
  controller.abort(new Error('mine'));
  await assert.rejects(aborted, { message: 'mine' });
  port.notice(closed);
  await assert.rejects(alive, { code: 'ERR_CLOSED' });
});

test('flush() and drain() wait for their own notices, and end with the target', async (t) => {
  const { port, target } = make(t);
  const order = [];
  const waits = [target.flush().then(() => order.push('flush')), target.drain().then(() => order.push('drain'))];
  port.notice({ kind: 'drained', token: 2 });
  port.notice({ kind: 'flushed', token: 1 });
  await Promise.all(waits);
  assert.deepEqual(order, ['drain', 'flush']);
  const pending = [target.flush(), target.drain()];
  port.notice(closed);
  await Promise.all(pending);
  await Promise.all([target.flush(), target.drain()]);
});

test('close() is one promise, takes effect at once, never rejects and makes every method a no-op', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'a:1', 'close');
  port.first(1, 'a', '1', 'queued before close');
  const closing = target.close({ code: 1001, reason: 'bye', timeoutMs: 10 });
  assert.equal(target.close(), closing);
  assert.equal(target[Symbol.asyncDispose](), closing);
  assert.equal(target.state, 'closing');
  assert.equal(target.dispatchEvent(new Event('not even a topic')), true);
  target.addEventListener('x:y', () => {});
  await port.delivered();
  port.notice({ ...closed, error: { code: 'ERR_TIMED_OUT', message: 'could not write' } });
  assert.equal(await closing, undefined);
  assert.deepEqual(
    seen.map(([name]) => name),
    ['close'],
  );
  assert.deepEqual(port.calls, [
    ['listen', 'a:1'],
    ['close', 1001, 'bye', 10],
  ]);
  target.addEventListener('close', () => assert.fail('closed already'));
  target.removeEventListener('a:1', () => {});
  await target.close();
  assert.deepEqual([target.state, target.bufferedAmount], ['closed', 0]);
});

test('close() asks for an orderly end within five seconds when nothing else is said', async (t) => {
  const { port, target } = make(t);
  void target.close();
  assert.deepEqual(port.of('close'), [[1000, '', 5000]]);
});

test('an error that nobody listens to is a warning, once per code', async (t) => {
  const { port } = make(t);
  const warnings = [];
  const listener = (warning) => warnings.push([warning.name, warning.code]);
  process.on('warning', listener);
  t.after(() => process.off('warning', listener));
  for (let i = 0; i < 3; i++) port.notice({ kind: 'error', code: 'ERR_TEST_UNHEARD', message: 'nobody listens' });
  await port.delivered();
  assert.deepEqual(warnings, [['PubSubWarning', 'ERR_TEST_UNHEARD']]);
});

test('an error carries how many were merged into it', async (t) => {
  const { port, target } = make(t);
  const seen = record(target, 'error');
  port.notice({ kind: 'error', code: 'ERR_BUFFER_FULL', message: 'full', dropped: 12 });
  await port.delivered();
  const [[, error]] = seen;
  assert.deepEqual([error.code, error.dropped], ['ERR_BUFFER_FULL', 12]);
});

test('a target binds or connects behind the turn that made it, so that its first listeners are there', async (t) => {
  const { port, target } = make(t);
  target.addEventListener('early:1', () => {});
  assert.deepEqual([port.of('listen'), port.begun], [[['early:1']], 0]);
  await Promise.resolve();
  assert.equal(port.begun, 1);
});
