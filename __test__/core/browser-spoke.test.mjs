// The spoke in plain TypeScript, as browsers get it, against sockets that are played by the test. The bytes are the contract's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createWebSocketClientEventTarget } from '../../dist/browser/event-target-websocket-client.js';
import { admit, makeOpenSpoke, makeSpoke, publish, turn, URL_OF_HUB } from './browser-spokes.mjs';
import { envelope, HELLO, HUB_HELLO, subscribe, subscribed } from './played-socket.mjs';

// ---- One link ----------------------------------------------------------------------------------------------------------------------

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

// ---- Queues ------------------------------------------------------------------------------------------------------------------------

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

// ---- The end -----------------------------------------------------------------------------------------------------------------------

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
