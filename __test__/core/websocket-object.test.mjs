// The spoke over a WebSocket of the caller's, against a socket that is played by the test. The bytes are the contract's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent } from '../../dist/index.js';
import { overWebSocket } from '../../dist/websocket-object.js';

const HELLO = '{"type":"__hello","id":"","payload":{"version":1,"role":"spoke","features":["ping"]}}';
const HUB_HELLO = '{"type":"__hello","id":"","payload":{"version":1,"role":"hub","features":[]}}';

class FakeSocket extends EventTarget {
  sent = [];
  bufferedAmount = 0;

  constructor(readyState = 1) {
    super();
    this.readyState = readyState;
  }

  send(text) {
    this.sent.push(text);
  }

  close() {
    assert.fail('the caller owns the socket');
  }

  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event('open'));
  }

  receive(data) {
    this.dispatchEvent(new MessageEvent('message', { data }));
  }

  lose(code, reason = '') {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }
}

const turn = () => new Promise(setImmediate);

test('an open socket gets the hello and, right behind it, the subscriptions of this turn', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  spoke.addEventListener('chat.msg:r1', () => {});
  await turn();
  assert.deepEqual(socket.sent, [HELLO, '{"type":"__subscribe","id":"","payload":{"topic":"chat.msg:r1","n":1}}']);
  await spoke.close();
});

test('a connecting socket gets hello, subscriptions and queued events in this order when it opens', async () => {
  const socket = new FakeSocket(0);
  const spoke = overWebSocket(socket);
  spoke.dispatchEvent(createEvent('chat.msg', 'r1', { n: 1 }));
  spoke.addEventListener('a:b', () => {});
  await turn();
  assert.deepEqual([socket.sent, spoke.bufferedAmount], [[], 47]);
  socket.open();
  assert.deepEqual(socket.sent, [
    HELLO,
    '{"type":"__subscribe","id":"","payload":{"topic":"a:b","n":1}}',
    '{"type":"chat.msg","id":"r1","payload":{"n":1}}',
  ]);
  await spoke.close();
});

test('a native hub acknowledges: ready(topic) waits for the answer to the latest n', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  const listener = () => {};
  spoke.addEventListener('a:b', listener);
  await turn();
  spoke.removeEventListener('a:b', listener);
  spoke.addEventListener('a:b', listener);
  const ready = spoke.ready('a:b');
  let isReady = false;
  void ready.then(() => (isReady = true));
  await turn();
  socket.receive(HUB_HELLO);
  assert.deepEqual(await spoke.ready(), { acknowledged: true });
  socket.receive('{"type":"__subscribed","id":"","payload":{"topic":"a:b","n":1}}');
  await turn();
  assert.equal(isReady, false);
  socket.receive('{"type":"__subscribed","id":"","payload":{"topic":"a:b","n":2}}');
  assert.deepEqual(await ready, { acknowledged: true });
  assert.deepEqual(await spoke.ready('a:b'), { acknowledged: true });
  await spoke.close();
});

test('a hub whose first envelope is no hello is a plain one', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  const seen = [];
  spoke.addEventListener('open', ({ detail }) => seen.push(detail));
  spoke.addEventListener('a:b', ({ detail }) => seen.push(detail));
  await turn();
  socket.receive(new TextEncoder().encode('{"id":"b","extra":1,"type":"a"}'));
  assert.deepEqual(seen, [
    { reconnected: false, native: false },
    { type: 'a', id: 'b', payload: null },
  ]);
  assert.deepEqual(await spoke.ready('a:b'), { acknowledged: false });
  await spoke.close();
});

test('a silent hub counts as plain after helloTimeoutMs, and a late hello upgrades it', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket, { helloTimeoutMs: 1 });
  // The timer of the spoke does not hold the process; this one does.
  const hold = setTimeout(() => {}, 60_000);
  assert.deepEqual(await spoke.ready(), { acknowledged: false });
  clearTimeout(hold);
  socket.receive(HUB_HELLO);
  assert.deepEqual(await spoke.ready(), { acknowledged: true });
  await spoke.close();
});

test('peer "plain" says no hello; peer "native" ends without an answer to it', async () => {
  const plain = new FakeSocket();
  const spoke = overWebSocket(plain, { peer: 'plain' });
  await spoke.ready();
  assert.deepEqual(plain.sent, []);
  await spoke.close();
  const hold = setTimeout(() => {}, 60_000);
  const { error } = await overWebSocket(new FakeSocket(), { peer: 'native', helloTimeoutMs: 1 }).closed;
  clearTimeout(hold);
  assert.equal(error.code, 'ERR_NO_HELLO');
});

test('a refusal rejects ready(topic) and is an error event; unknown words become ERR_REFUSED', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  const codes = [];
  spoke.addEventListener('error', ({ detail }) => codes.push(detail.code));
  spoke.addEventListener('a:b', () => {});
  const ready = spoke.ready('a:b');
  await turn();
  socket.receive(HUB_HELLO);
  await turn();
  const refusal = (kind, code) =>
    JSON.stringify({ type: '__refused', id: '', payload: { topic: 'a:b', n: 1, kind, code, reason: 'no' } });
  socket.receive(refusal('subscribe', 'FORBIDDEN'));
  socket.receive(refusal('publish', 'WHATEVER'));
  await assert.rejects(ready, { code: 'ERR_FORBIDDEN' });
  await assert.rejects(spoke.ready('a:b'), { code: 'ERR_FORBIDDEN' });
  assert.deepEqual(codes, ['ERR_FORBIDDEN', 'ERR_REFUSED']);
  await spoke.close();
});

test('control events never reach listeners; __gap is a gap with cause upstream', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  const gaps = [];
  spoke.addEventListener('gap', ({ detail }) => gaps.push(detail));
  spoke.addEventListener('__other:', () => assert.fail('reserved'));
  spoke.addEventListener('a:b', () => {});
  await turn();
  socket.receive(HUB_HELLO);
  socket.receive('{"type":"__other","id":"","payload":null}');
  socket.receive('{"type":"__gap","id":"","payload":{"cause":"upstream","from":1,"to":2,"topics":["a:b","c:"]}}');
  socket.receive('{"type":"__gap","id":"","payload":{"cause":"upstream","from":1,"to":2,"topics":["c:"]}}');
  assert.deepEqual(gaps, [{ cause: 'upstream', direction: 'in', from: 1, to: 2, topics: ['a:b'] }]);
  await spoke.close();
});

test('control events with fields of another kind throw nothing into the socket’s events and change nothing', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  const told = [];
  for (const name of ['gap', 'error']) spoke.addEventListener(name, ({ detail }) => told.push([name, detail.message]));
  spoke.addEventListener('a:', () => {});
  await turn();
  socket.receive(HUB_HELLO);
  // `String()` and `Number()` throw on such an object.
  const odd = { toString: 1, valueOf: 1 };
  const uncaught = [];
  const hear = (error) => uncaught.push(error);
  process.on('uncaughtException', hear);
  for (const topic of [odd, 'a:'])
    for (const type of ['__subscribed', '__refused', '__gap', '__ping']) {
      const payload = { topic, n: odd, kind: odd, code: odd, reason: odd, from: odd, to: odd, topics: [odd], t: odd };
      socket.receive(JSON.stringify({ type, id: '', payload }));
    }
  socket.receive(JSON.stringify({ type: '__refused', id: '', payload: { topic: 'a:', kind: 'publish', code: odd } }));
  await turn();
  process.off('uncaughtException', hear);
  assert.deepEqual(uncaught, []);
  assert.deepEqual(told, [['error', 'the hub refused publishing to "a:": ']]);
  await spoke.close();
});

test('messages that are no envelopes are counted, reported and skipped', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  const errors = [];
  spoke.addEventListener('error', ({ detail }) => errors.push(detail.code));
  await turn();
  for (const data of ['', '{', '5', 'null', '{"type":"a"}', '{"type":1,"id":"b"}', new Uint8Array([255])])
    socket.receive(data);
  assert.deepEqual([spoke.stats().malformed, errors], [7, ['ERR_MALFORMED']]);
  await spoke.close();
});

test('close() takes back subscriptions and listeners and leaves the socket open', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  spoke.addEventListener('a:b', () => assert.fail('closed'));
  await turn();
  socket.sent = [];
  await spoke.close({ code: 1000, reason: 'done' });
  assert.deepEqual(socket.sent, ['{"type":"__unsubscribe","id":"","payload":{"topic":"a:b"}}']);
  socket.receive('{"type":"a","id":"b","payload":1}');
  spoke.dispatchEvent(createEvent('a', 'b', 1));
  assert.deepEqual(await spoke.closed, { code: 1000, reason: 'done' });
});

test('the end of the socket is the end of the target', async () => {
  const orderly = new FakeSocket();
  const broken = new FakeSocket();
  const targets = [orderly, broken, new FakeSocket(3)].map((socket) => overWebSocket(socket));
  await turn();
  orderly.lose(1001, 'restart');
  broken.dispatchEvent(Object.assign(new Event('error'), { error: new Error('reset') }));
  broken.lose(1006);
  const [first, second, third] = await Promise.all(targets.map(({ closed }) => closed));
  assert.deepEqual(first, { code: 1001, reason: 'restart' });
  assert.deepEqual(
    [second.code, second.error.code, second.error.cause.message],
    [1006, 'ERR_CONNECTION_LOST', 'reset'],
  );
  assert.equal(third.code, 1006);
});

test('what has no room while connecting is dropped, counted and reported', async () => {
  const spoke = overWebSocket(new FakeSocket(0), { maxBufferedAmount: 100 });
  const errors = [];
  spoke.addEventListener('error', ({ detail }) => errors.push(detail.code));
  spoke.dispatchEvent(createEvent('a', 'b', 'x'.repeat(1000)));
  spoke.dispatchEvent(createEvent('a', 'b', 1));
  assert.deepEqual([errors, spoke.stats().dropped], [['ERR_BUFFER_FULL'], 1]);
  await spoke.close();
});

test('flush() and drain() follow the socket’s own buffer', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket, { maxPendingBytes: 1000 });
  await turn();
  socket.bufferedAmount = 800;
  const order = [];
  const waits = [spoke.drain().then(() => order.push('drain')), spoke.flush().then(() => order.push('flush'))];
  socket.bufferedAmount = 400;
  await waits[0];
  socket.bufferedAmount = 0;
  await Promise.all(waits);
  assert.deepEqual(order, ['drain', 'flush']);
  await spoke.close();
});

test('a signal closes the target', async () => {
  const controller = new AbortController();
  const spoke = overWebSocket(new FakeSocket(), { signal: controller.signal });
  controller.abort();
  assert.equal((await spoke.closed).code, 1000);
  assert.equal(overWebSocket(new FakeSocket(), { signal: controller.signal }).state, 'closing');
});

const NATIVE_HUB = HUB_HELLO.replace('[]', '["ping"]');

test('a refusal says how often it stands for, and one without a number takes an active topic back', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  const errors = [];
  spoke.addEventListener('error', ({ detail }) => errors.push([detail.code, detail.dropped]));
  spoke.addEventListener('a:b', () => {});
  await turn();
  socket.receive(NATIVE_HUB);
  const refused = (payload) =>
    socket.receive(
      JSON.stringify({ type: '__refused', id: '', payload: { code: 'FORBIDDEN', reason: '', ...payload } }),
    );
  refused({ topic: 'a:b', kind: 'subscribe' });
  socket.receive('{"type":"__subscribed","id":"","payload":{"topic":"a:b","n":1}}');
  assert.deepEqual(await spoke.ready('a:b'), { acknowledged: true }, 'what was not active could not be taken back');
  refused({ topic: 'a:b', kind: 'subscribe' });
  await assert.rejects(spoke.ready('a:b'), { code: 'ERR_FORBIDDEN' });
  refused({ topic: 'x:', kind: 'publish', count: 5 });
  // One error per code and 100 ms; what comes sooner is merged into the next, and close() waits for nobody.
  await spoke.close();
  assert.deepEqual(errors, [
    ['ERR_FORBIDDEN', 1],
    ['ERR_FORBIDDEN', 5],
  ]);
});

test('pings of a hub are answered with what they carried, if that is short', async () => {
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket);
  await turn();
  socket.receive(NATIVE_HUB);
  socket.sent = [];
  for (const t of [7, 'x', 'x'.repeat(33), {}])
    socket.receive(JSON.stringify({ type: '__ping', id: '', payload: { t } }));
  const pong = (t) => `{"type":"__pong","id":"","payload":{"t":${t}}}`;
  assert.deepEqual(socket.sent, [pong(7), pong('"x"')]);
  socket.bufferedAmount = 1 << 20;
  socket.receive('{"type":"__ping","id":"","payload":{"t":8}}');
  assert.equal(socket.sent.length, 2, 'a hub that does not read gets no more answers');
  await spoke.close();
});

test('a hub that falls silent is asked, and dead after two and a half heartbeats', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const pass = (ms) => {
    for (let passed = 0; passed < ms; passed += 25) {
      now += 25;
      t.mock.timers.tick(25);
    }
  };
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket, { heartbeatMs: 100 });
  const codes = [];
  spoke.addEventListener('error', ({ detail }) => codes.push(detail.code));
  await turn();
  socket.receive(NATIVE_HUB);
  socket.sent = [];
  pass(100);
  assert.equal(JSON.parse(socket.sent[0]).type, '__ping');
  socket.receive('{"type":"__pong","id":"","payload":{"t":1}}');
  pass(240);
  assert.equal(spoke.state, 'open');
  // A thread that was blocked finds its timer before what has come meanwhile.
  now += 10_000;
  t.mock.timers.tick(25);
  assert.equal(spoke.state, 'open');
  pass(300);
  assert.equal((await spoke.closed).error.code, 'ERR_TIMED_OUT');
  assert.deepEqual(codes, ['ERR_TIMED_OUT']);
});

test('a hub is alive while it takes what waits in the socket, and dead when it takes nothing any more', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const pass = () => {
    now += 25;
    t.mock.timers.tick(25);
  };
  const socket = new FakeSocket();
  socket.send = (text) => {
    socket.bufferedAmount += text.length;
  };
  const spoke = overWebSocket(socket, { heartbeatMs: 100 });
  spoke.addEventListener('error', () => {});
  await turn();
  socket.receive(NATIVE_HUB);
  // As much comes as goes, and no ping could be answered before all of it has gone.
  for (let n = 0; n < 400; n++) {
    spoke.dispatchEvent(createEvent('a', '', 'x'.repeat(n === 0 ? 1 << 20 : 1000)));
    socket.bufferedAmount -= 1000;
    pass();
  }
  assert.equal(spoke.state, 'open');
  for (let n = 0; n < 12; n++) pass();
  assert.equal((await spoke.closed).error.code, 'ERR_TIMED_OUT');
});

test('the code of a close is the code of the error', async () => {
  for (const [code, expected] of [
    [1002, 'ERR_PROTOCOL'],
    [1006, 'ERR_CONNECTION_LOST'],
    [1009, 'ERR_MESSAGE_TOO_LARGE'],
    [1012, 'ERR_CONNECTION_LOST'],
    [1013, 'ERR_SLOW_CONSUMER'],
    [4401, 'ERR_NOT_IDENTIFIED'],
    [4403, 'ERR_FORBIDDEN'],
  ]) {
    const socket = new FakeSocket();
    const spoke = overWebSocket(socket);
    spoke.addEventListener('error', () => {});
    await turn();
    socket.lose(code, 'because');
    const { error } = await spoke.closed;
    assert.equal(error.code, expected);
    assert.match(error.message, /: because;/);
  }
});

test('a hub that answers no pings is not asked and never dead', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const socket = new FakeSocket();
  const spoke = overWebSocket(socket, { heartbeatMs: 100 });
  await turn();
  socket.receive(HUB_HELLO);
  socket.sent = [];
  t.mock.timers.tick(100_000);
  assert.deepEqual([spoke.state, socket.sent], ['open', []]);
  await spoke.close();
});
