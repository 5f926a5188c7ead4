// From link to link: what a spoke in plain TypeScript sends again, what it tells of gaps, and when it tries again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createWebSocketClientEventTarget } from '../../dist/browser/event-target-websocket-client.js';
import { admit, codeOf, gapsIn, makeOpenSpoke, makeSpoke, publish, soon, URL_OF_HUB } from './browser-spokes.mjs';
import { envelope, HELLO, HUB_HELLO, subscribe, subscribed } from './played-socket.mjs';

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
