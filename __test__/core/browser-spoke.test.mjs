// The spoke in plain TypeScript, as browsers get it, against sockets that are played by the test. The bytes are the contract's.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { createWebSocketClientEventTarget } from '../../dist/browser/event-target-websocket-client.js';
import { createEvent } from '../../dist/index.js';
import { envelope, HELLO, HUB_HELLO, playedSockets, subscribe, subscribed } from './played-socket.mjs';

const URL_OF_HUB = 'ws://hub.test/';
const turn = () => new Promise(setImmediate);
const soon = { minDelayMs: 1, maxDelayMs: 1 };

/** Timers of a spoke hold no process, so a test that waits for one holds it. */
let hold;
// The real ones: some tests play the clock.
const timers = { setInterval, clearInterval };
const holding = () => (hold ??= timers.setInterval(() => {}, 60_000));
const open = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((spoke) => spoke.close({ timeoutMs: 0 })));
  timers.clearInterval(hold);
  hold = undefined;
});

function makeSpoke(options = {}, url = URL_OF_HUB) {
  const sockets = playedSockets();
  const spoke = createWebSocketClientEventTarget(url, { WebSocket: sockets.WebSocket, reconnect: soon, ...options });
  const log = [];
  for (const name of ['open', 'reconnecting', 'gap', 'error', 'close'])
    spoke.addEventListener(name, ({ detail }) => log.push([name, detail]));
  open.push(spoke);
  holding();
  return { spoke, log, ...sockets, names: () => log.map(([name]) => name) };
}

/** A spoke whose hub is native; `topics` are acknowledged. */
async function makeOpenSpoke(options, ...topics) {
  const made = makeSpoke(options);
  const heard = [];
  for (const topic of topics)
    made.spoke.addEventListener(topic, ({ detail }) => heard.push(detail.payload ?? detail.type));
  const [socket] = [await made.next()];
  admit(socket, ...topics);
  await made.spoke.ready();
  return { ...made, socket, heard };
}

function admit(socket, ...topics) {
  socket.open();
  socket.receive(HUB_HELLO, ...topics.map((topic, i) => subscribed(topic, i + 1)));
}

const gapsIn = (log) => log.filter(([name]) => name === 'gap').map(([, detail]) => detail);
const publish = (spoke, type, id, payload) => spoke.dispatchEvent(createEvent(type, id, payload));
const codeOf = (error) => error?.code;

// ---- One link ---------------------------------------------------------------------------------------------------------------------

test('it says hello and every topic at once, and events when it knows what the hub is', async () => {
  const { spoke, next } = makeSpoke({ protocols: ['chat'] }, 'ws://hub.test#part');
  spoke.addEventListener('a:b', () => {});
  publish(spoke, 'a', 'c', 1);
  const socket = await next();
  assert.deepEqual([socket.url, socket.protocols, socket.binaryType], [URL_OF_HUB, ['chat'], 'arraybuffer']);
  socket.open();
  assert.deepEqual(socket.sent, [HELLO, subscribe('a:b', 1)]);
  assert.equal(spoke.state, 'connecting');
  socket.receive(HUB_HELLO);
  assert.deepEqual(socket.sent.slice(2), [envelope('a', 'c', 1)]);
  assert.equal(spoke.state, 'open');
});

test('ready(topic) is the answer to the latest n, also over a loss', async () => {
  const { spoke, next } = makeSpoke();
  spoke.addEventListener('a:b', () => {});
  const ready = spoke.ready('a:b');
  const first = await next();
  first.open();
  first.receive(HUB_HELLO);
  first.end(1006);
  const second = await next();
  second.open();
  second.receive(HUB_HELLO, subscribed('a:b', 7), subscribed('a:b', 1));
  assert.deepEqual(await ready, { acknowledged: true });
});

test('a hub that is silent, or speaks of something else first, is a plain one', async () => {
  const silent = makeSpoke({ helloTimeoutMs: 1 });
  silent.spoke.addEventListener('a:b', () => {});
  (await silent.next()).open();
  assert.deepEqual(await silent.spoke.ready('a:b'), { acknowledged: false });
  const talking = makeSpoke();
  const heard = [];
  talking.spoke.addEventListener('a:b', ({ detail }) => heard.push(detail.payload));
  const socket = await talking.next();
  socket.open();
  socket.receive(envelope('a', 'b', 1), HUB_HELLO);
  assert.deepEqual([heard, await talking.spoke.ready()], [[1], { acknowledged: true }]);
});

test('peer "native" ends where the hub is taken for plain; peer "plain" says no hello', async () => {
  const native = makeSpoke({ peer: 'native' });
  const socket = await native.next();
  socket.open();
  socket.receive(envelope('a', 'b', 1));
  const { code, error } = await native.spoke.closed;
  assert.deepEqual([code, error.code, socket.closing[0]], [1002, 'ERR_NO_HELLO', 4002]);
  const plain = makeSpoke({ peer: 'plain' });
  plain.spoke.addEventListener('a:b', () => {});
  const other = await plain.next();
  other.open();
  assert.deepEqual([other.sent, await plain.spoke.ready('a:b')], [[subscribe('a:b', 1)], { acknowledged: false }]);
});

test('options that a WebSocket cannot have throw and say what to do', () => {
  for (const option of ['headers', 'tls'])
    assert.throws(() => createWebSocketClientEventTarget(URL_OF_HUB, { [option]: {} }), {
      name: 'TypeError',
      code: 'ERR_INVALID_OPTION',
      message: new RegExp(`^${option} cannot be used here: .*; `),
    });
  assert.throws(() => createWebSocketClientEventTarget('http://x'), { code: 'ERR_INVALID_OPTION' });
  assert.throws(() => createWebSocketClientEventTarget(URL_OF_HUB, { retry: 1 }), { message: /has no "retry"/ });
});

// ---- From link to link ------------------------------------------------------------------------------------------------------------

test('after a loss: subscriptions, then what waited; one gap, then the events of the new link', async () => {
  const { spoke, socket, next, log, heard, names } = await makeOpenSpoke({}, 'a:b', 'c:');
  const before = Date.now();
  socket.receive(envelope('a', 'b', 1));
  socket.end(1012, 'restart');
  assert.equal(spoke.state, 'reconnecting');
  publish(spoke, 'x', '', 'waited');
  const again = await next();
  again.open();
  assert.deepEqual(again.sent, [HELLO, subscribe('a:b', 1), subscribe('c:', 2)]);
  again.receive(HUB_HELLO, subscribed('a:b', 1), envelope('a', 'b', 2));
  assert.deepEqual([again.sent.at(-1), heard, gapsIn(log)], [envelope('x', '', 'waited'), [1], []]);
  again.receive(subscribed('c:', 2));
  assert.deepEqual(
    [heard, names()],
    [
      [1, 2],
      ['open', 'reconnecting', 'open', 'gap'],
    ],
  );
  const [{ from, to, ...gap }] = gapsIn(log);
  assert.deepEqual(gap, { cause: 'connection-lost', direction: 'in', topics: ['a:b', 'c:'] });
  assert(before <= from && from <= to);
  assert.deepEqual(log[1][1].cause.code, 'ERR_CONNECTION_LOST');
  assert.deepEqual(log[2][1], { reconnected: true, native: true });
});

test('a gap grows over several losses, and what came between them is dropped and counted', async () => {
  const { socket, next, log, heard, spoke } = await makeOpenSpoke({}, 'a:b', 'c:');
  socket.end(1013);
  const second = await next();
  second.open();
  second.receive(HUB_HELLO, subscribed('a:b', 1), envelope('a', 'b', 1));
  publish(spoke, 'x', '', 1);
  second.end(1006);
  const third = await next();
  admit(third, 'a:b');
  third.receive(envelope('a', 'b', 2), subscribed('c:', 2));
  const [{ from: _, to: __, ...gap }, ...more] = gapsIn(log);
  assert.deepEqual([more, heard], [[], [2]]);
  assert.deepEqual(gap, { cause: 'slow-consumer', direction: 'both', topics: ['a:b', 'c:'], dropped: 1 });
  assert.equal(spoke.stats().dropped, 1);
});

test('a topic that lost its listener during the outage is no part of the gap, one that came then neither', async () => {
  const { spoke, socket, next, log } = await makeOpenSpoke({}, 'a:b');
  const listener = () => {};
  spoke.addEventListener('c:', listener);
  socket.receive(subscribed('c:', 2));
  socket.end(1006);
  spoke.removeEventListener('c:', listener);
  spoke.addEventListener('d:', listener);
  admit(await next(), 'a:b', 'd:');
  assert.deepEqual(gapsIn(log)[0].topics, ['a:b']);
});

test('direction has "out" until a pong, or the answer to a later subscription, proves what was sent', async () => {
  for (const [proof, expected] of [
    [() => [], 'out'],
    [() => [envelope('__pong', '', { t: 1 })], 'out'],
    [() => [envelope('__pong', '', { t: 2 })], undefined],
    [(spoke) => listenAnd(spoke, 'late:', [subscribed('late:', 1)]), 'in'],
  ]) {
    const { spoke, socket, next, log } = await makeOpenSpoke({});
    publish(spoke, 'x', '', 1);
    publish(spoke, 'x', '', 2);
    socket.receive(...proof(spoke));
    socket.end(1006);
    admit(await next(), 'late:');
    assert.equal(gapsIn(log)[0]?.direction, expected);
  }
});

function listenAnd(spoke, topic, messages) {
  spoke.addEventListener(topic, () => {});
  return messages;
}

test('a hub that says so is raised as a gap of cause upstream, for topics that are listened to', async () => {
  const { socket, log } = await makeOpenSpoke({}, 'a:b');
  const gap = { cause: 'overflow', from: 1, to: 2, topics: ['a:b', 'c:'] };
  socket.receive(envelope('__gap', '', gap), envelope('__gap', '', { ...gap, topics: ['c:'] }));
  assert.deepEqual(gapsIn(log), [{ cause: 'upstream', direction: 'in', from: 1, to: 2, topics: ['a:b'] }]);
});

for (const [codes, end] of [
  [[1000], [1000, undefined]],
  [[4403], [4403, 'ERR_FORBIDDEN']],
  [
    [4401, 4401],
    [4401, 'ERR_NOT_IDENTIFIED'],
  ],
  [
    [4401, 1006, 4401, 1011, 4403],
    [4403, 'ERR_FORBIDDEN'],
  ],
  [
    [1002, 1009, 1007],
    [1007, 'ERR_PROTOCOL'],
  ],
  [
    [1002, 1009, 1006, 1009, 1002, 1009],
    [1009, 'ERR_MESSAGE_TOO_LARGE'],
  ],
  [
    [1001, 1005, 1006, 1008, 1011, 1012, 1013, 4408, 4000, 1000],
    [1000, undefined],
  ],
])
  test(`links that end with ${codes.join(', ')} end the spoke with the last of them, not before`, async () => {
    const { spoke, next, made } = makeSpoke();
    let coming = next();
    for (const code of codes) {
      const socket = await coming;
      coming = next();
      socket.open();
      socket.end(code);
    }
    const { code, error } = await spoke.closed;
    assert.deepEqual([code, codeOf(error), made.length], [...end, codes.length]);
  });

test('a function for the URL is asked before each attempt, and may fail', async () => {
  const urls = ['ws://one.test/', new Error('no ticket'), 'ws://two.test/?ticket=2'];
  const { next, log } = makeSpoke({}, async () => {
    const url = urls.shift();
    if (url instanceof Error) throw url;
    return url;
  });
  const first = await next();
  first.open();
  first.end(4401);
  assert.deepEqual([first.url, (await next()).url], ['ws://one.test/', 'ws://two.test/?ticket=2']);
  assert.deepEqual(
    log.map(([, { cause }]) => cause.code),
    ['ERR_NOT_IDENTIFIED', 'ERR_CONNECT'],
  );
});

test('a socket that the platform refuses to make is the end', async () => {
  class Refused {
    constructor() {
      throw new DOMException('insecure', 'SecurityError');
    }
  }
  const spoke = createWebSocketClientEventTarget(URL_OF_HUB, { WebSocket: Refused });
  spoke.addEventListener('error', () => {});
  const { code, error } = await spoke.closed;
  assert.deepEqual([code, error.code, error.cause.name], [1006, 'ERR_CONNECT', 'SecurityError']);
});

test('delays are a random part of a doubling bound, a hub may ask for more, and a stable minute begins anew', async (t) => {
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  t.mock.method(Math, 'random', () => 1);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { spoke, next, log } = makeSpoke({ reconnect: { maxDelayMs: 1000 } });
  let coming = next();
  for (const [lasted, reason] of [
    [0, ''],
    [60_000, ''],
    [0, 'restart retryAfterMs=70000'],
    [0, ''],
    [60_001, 'retryAfterMs=5 please'],
  ]) {
    const socket = await coming;
    coming = next();
    socket.open();
    now += lasted;
    socket.end(1012, reason);
    t.mock.timers.tick(100_000);
  }
  await coming;
  assert.deepEqual(
    log.map(([, { attempt, delayMs }]) => [attempt, delayMs]),
    [
      [1, 250],
      [2, 500],
      [3, 61_000],
      [4, 1000],
      [1, 255],
    ],
  );
  await spoke.close();
});

test('reconnect: false ends with the first loss; initial: false with a failing first attempt only', async () => {
  const never = await makeOpenSpoke({ reconnect: false });
  never.socket.end(1006);
  assert.equal((await never.spoke.closed).error.code, 'ERR_CONNECTION_LOST');
  const first = makeSpoke({ reconnect: { ...soon, initial: false } });
  (await first.next()).end(1006);
  assert.equal((await first.spoke.closed).error.code, 'ERR_CONNECT');
  const later = await makeOpenSpoke({ reconnect: { ...soon, initial: false } });
  later.socket.end(1006);
  (await later.next()).end(1006);
  assert.equal((await later.next()).readyState, 0);
});

test('an attempt that takes longer than handshakeMs fails and is made again', async () => {
  const { next, log } = makeSpoke({ limits: { handshakeMs: 1 } });
  const hanging = await next();
  await next();
  assert.deepEqual([hanging.closing[0], log[0][1].cause.code], [4006, 'ERR_TIMED_OUT']);
});

test('when the network is back the next attempt waits no longer', async (t) => {
  const network = new EventTarget();
  for (const name of ['addEventListener', 'removeEventListener']) {
    globalThis[name] = network[name].bind(network);
    t.after(() => delete globalThis[name]);
  }
  t.mock.method(Math, 'random', () => 1);
  const { next } = makeSpoke({ reconnect: { minDelayMs: 3_600_000, maxDelayMs: 3_600_000 } });
  (await next()).end(1006);
  const again = next();
  network.dispatchEvent(new Event('online'));
  assert.equal((await again).readyState, 0);
});

test('with echo own listeners hear what the others get, at once', async () => {
  const { spoke, socket, heard } = await makeOpenSpoke({ echo: true }, 'a:b');
  publish(spoke, 'a', 'b', { gone: undefined, at: new Date(0) });
  assert.deepEqual(heard, [{ at: '1970-01-01T00:00:00.000Z' }]);
  assert.equal(socket.sent.at(-1), envelope('a', 'b', heard[0]));
});

// ---- Queues -----------------------------------------------------------------------------------------------------------------------

test('what has no room while there is no link is dropped, counted and reported once per 100 ms', async () => {
  const { spoke, log, next } = makeSpoke({ maxBufferedAmount: 100 });
  publish(spoke, 'a', 'b', 'x'.repeat(1000));
  for (let n = 0; n < 3; n++) publish(spoke, 'a', 'b', n);
  const socket = await next();
  admit(socket);
  assert.equal(socket.sent.length, 2, 'hello and the one that was alone');
  await spoke.close({ timeoutMs: 0 });
  const errors = log.filter(([name]) => name === 'error').map(([, { code, dropped }]) => [code, dropped]);
  assert.deepEqual(
    [errors, spoke.stats().dropped],
    [
      [
        ['ERR_BUFFER_FULL', 1],
        ['ERR_BUFFER_FULL', 2],
      ],
      3,
    ],
  );
});

test('what waits longer than queueMaxAgeMs for a link is dropped and told', async () => {
  const { spoke, log } = makeSpoke({ queueMaxAgeMs: 1 });
  const told = new Promise((resolve) => spoke.addEventListener('error', resolve, { once: true }));
  publish(spoke, 'a', 'b', 1);
  await told;
  assert.deepEqual([log[0][1].code, spoke.bufferedAmount, spoke.stats().dropped], ['ERR_BUFFER_FULL', 0, 1]);
});

test('too large an event throws; too large a message ends the link', async () => {
  const { spoke, socket, log } = await makeOpenSpoke({ limits: { maxMessageBytes: 100, maxTopicBytes: 10 } });
  const thrown = { code: 'ERR_MESSAGE_TOO_LARGE' };
  assert.throws(() => publish(spoke, 'a', 'b', 'ż'.repeat(40)), thrown);
  assert.throws(() => publish(spoke, 'a', 'żżżżż', 1), thrown);
  publish(spoke, 'a', 'b', 'z'.repeat(40));
  socket.receive(envelope('a', 'b', 'x'.repeat(100)));
  assert.deepEqual([socket.closing[0], log.at(-1)[1].cause.code], [4009, 'ERR_MESSAGE_TOO_LARGE']);
});

test('messages that are no envelopes are skipped and told of once a second; too many of them end the link', async () => {
  const { spoke, socket, log } = await makeOpenSpoke({ limits: { maxMalformed: 3 } });
  socket.receive('{', envelope('', 'x', 1), '{"type":"a","id":"b","id":"c"}', envelope('a', 'x'.repeat(1024), 1));
  assert.deepEqual([spoke.stats().malformed, socket.closing[0]], [4, 4008]);
  assert.deepEqual(
    log.map(([name, { code, cause }]) => [name, code ?? cause?.code]),
    [
      ['open', undefined],
      ['error', 'ERR_MALFORMED'],
      ['reconnecting', 'ERR_MALFORMED'],
    ],
  );
});

// ---- Signs of life ----------------------------------------------------------------------------------------------------------------

/** A clock that the test moves, in steps of `step`; timers that are due run behind each. */
function clock(t) {
  let now = 0;
  t.mock.timers.enable({ apis: ['setInterval'] });
  t.mock.method(performance, 'now', () => now);
  return (ms, step = 25) => {
    for (let passed = 0; passed < ms; passed += step) {
      now += step;
      t.mock.timers.tick(25);
    }
  };
}

test('a hub that is silent is asked, and the link is made again after two and a half heartbeats', async (t) => {
  const pass = clock(t);
  const { spoke, socket, log } = await makeOpenSpoke({ limits: { heartbeatMs: 100 } }, 'a:b');
  socket.sent = [];
  pass(100);
  assert.deepEqual(socket.sent, [envelope('__ping', '', { t: 0 })]);
  pass(175);
  assert.deepEqual([spoke.state, log.at(-1)[1].cause.code], ['reconnecting', 'ERR_TIMED_OUT']);
  assert.deepEqual(socket.closing, [4006, 'no byte came for 2.5 heartbeats']);
});

test('a hub that talks is asked only for the proof of what was sent', async (t) => {
  const pass = clock(t);
  const { spoke, socket } = await makeOpenSpoke({ limits: { heartbeatMs: 100 } });
  const talk = () => {
    for (let n = 0; n < 4; n++) {
      pass(25);
      socket.receive(envelope('a', 'b', n));
    }
  };
  socket.sent = [];
  talk();
  assert.deepEqual(socket.sent, []);
  publish(spoke, 'x', '', 1);
  talk();
  assert.deepEqual(socket.sent.slice(1), [envelope('__ping', '', { t: 1 })]);
});

test('a suspended tab asks when it wakes and takes nobody for dead before; in a hidden one two late looks count', async (t) => {
  const pass = clock(t);
  const { spoke, socket, log } = await makeOpenSpoke({ limits: { heartbeatMs: 100 } });
  const pings = () => socket.sent.filter((text) => text.includes('__ping')).length;
  pass(3_600_000, 3_600_000);
  assert.deepEqual([spoke.state, pings()], ['open', 1]);
  socket.receive(envelope('__pong', '', { t: 0 }));
  pass(60_000, 60_000);
  socket.receive(envelope('__pong', '', { t: 0 }));
  pass(60_000, 60_000);
  assert.deepEqual([spoke.state, pings()], ['open', 3]);
  pass(60_000, 60_000);
  assert.deepEqual([spoke.state, log.at(-1)[1].cause.code], ['reconnecting', 'ERR_TIMED_OUT']);
});

test('a gap begins before a suspension, whatever was still in the queue when the tab woke', async (t) => {
  const pass = clock(t);
  let date = 1000;
  t.mock.method(Date, 'now', () => date);
  const { socket, next, log } = await makeOpenSpoke({ limits: { heartbeatMs: 100 } }, 'a:b');
  date = 2000;
  socket.receive(envelope('a', 'b', 1));
  date = 9000;
  pass(60_000, 60_000);
  socket.receive(envelope('a', 'b', 2));
  socket.end(1006);
  admit(await next(), 'a:b');
  assert.equal(gapsIn(log)[0].from, 2000);
});

// ---- The end ----------------------------------------------------------------------------------------------------------------------

test('close() sends what was dispatched, then closes with code and reason, and ends when the hub has answered', async () => {
  const { spoke, socket, log } = await makeOpenSpoke({});
  publish(spoke, 'a', 'b', 1);
  const closed = spoke.close({ code: 1001, reason: 'żółw'.repeat(30) });
  assert.equal(socket.sent.at(-1), envelope('a', 'b', 1));
  // A page may send 1000 and 3000 to 4999 only; a reason has 123 bytes.
  assert.deepEqual(socket.closing, [4001, `${'żółw'.repeat(17)}żó`]);
  await turn();
  assert.equal(spoke.state, 'closing');
  socket.end(4001);
  await closed;
  assert.deepEqual(await spoke.closed, { code: 1001, reason: 'żółw'.repeat(30) });
  assert.equal(log.at(-1)[0], 'close');
});

test('close() waits for a link when events wait for it, and no longer than timeoutMs', async () => {
  const patient = makeSpoke();
  publish(patient.spoke, 'a', 'b', 1);
  const closed = patient.spoke.close();
  const socket = await patient.next();
  admit(socket);
  assert.deepEqual([socket.sent.at(-1), socket.closing], [envelope('a', 'b', 1), [1000, '']]);
  socket.end(1000);
  await closed;
  const hasty = makeSpoke();
  publish(hasty.spoke, 'a', 'b', 1);
  await hasty.spoke.close({ timeoutMs: 1 });
  assert.deepEqual(
    [hasty.log.map(([name, { code }]) => [name, code]), hasty.spoke.stats().dropped],
    [
      [
        ['error', 'ERR_CLOSED'],
        ['close', 1000],
      ],
      1,
    ],
  );
});

test('close() without anything to send ends at once, whatever the link is doing', async () => {
  const before = makeSpoke();
  await before.spoke.close();
  const during = makeSpoke();
  const socket = await during.next();
  await during.spoke.close();
  assert.deepEqual([before.made.length, socket.closing], [0, [1000, '']]);
  const between = await makeOpenSpoke({ reconnect: { minDelayMs: 3_600_000, maxDelayMs: 3_600_000 } });
  between.socket.end(1006);
  await between.spoke.close();
  assert.equal((await between.spoke.closed).code, 1000);
});
