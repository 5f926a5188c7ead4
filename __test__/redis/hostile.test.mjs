// Servers that are none, that say nothing, or never stop: the target stays responsive, says why, comes back when they behave, and ends when it
// is told to.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventually, listenTo, within } from '../websocket/facts.mjs';
import { makeTarget, publish, watch } from './facts.mjs';
import { message, startFake, usual } from './fake.mjs';

const envelope = (payload) => JSON.stringify({ type: 'a', id: '', payload });

/** Closes at once, whatever the server does. */
async function endsAtOnce(target) {
  await within(target.close({ timeoutMs: 50 }), 'close()', 2000);
  assert.equal(target.state, 'closed');
}

describe('a server that never answers', { concurrency: 4 }, () => {
  for (const [what, options] of [
    ['AUTH', { password: 'secret' }],
    ['SELECT', { database: '/3' }],
    ['PING', {}],
  ]) {
    test(`${what}: each attempt ends in time, and says so`, async (t) => {
      const fake = await startFake(t, (words) => (words[0] === what ? undefined : usual(words)));
      const { database = '', ...rest } = options;
      const target = makeTarget(t, { url: fake.url + database }, { limits: { handshakeMs: 50 }, ...rest });
      const { all } = watch(target);
      await eventually(() => all('reconnecting').length >= 3, 'three attempts');
      assert.equal(all('reconnecting')[0].cause.code, 'ERR_TIMED_OUT');
      assert.equal(target.state, 'reconnecting');
      assert.ok(fake.sockets.size <= 4, 'the attempts before have closed theirs');
      await endsAtOnce(target);
    });
  }

  test('SUBSCRIBE: it is not open, and given up after 2.5 heartbeats', async (t) => {
    const fake = await startFake(t, (words, socket) => {
      if (words[0] === 'SUBSCRIBE') socket.isSubscribing = true;
      return socket.isSubscribing ? undefined : usual(words);
    });
    const target = makeTarget(t, fake, { limits: { heartbeatMs: 40 } });
    const { all } = watch(target);
    listenTo(target, 'a:');
    await eventually(() => all('reconnecting').length >= 2, 'two attempts');
    assert.deepEqual(all('open'), []);
    assert.match(all('reconnecting')[0].cause.message, /no byte came for 2\.5 heartbeats/);
    await endsAtOnce(target);
  });

  test('PUBLISH: close() gives up in time', async (t) => {
    const fake = await startFake(t, (words) => (words[0] === 'PUBLISH' ? undefined : usual(words)));
    const target = makeTarget(t, fake);
    await target.ready();
    for (let n = 0; n < 1000; n++) publish(target, 'a', '', n);
    await endsAtOnce(target);
  });
});

test('half a reply and then silence is an outage, told as one', async (t) => {
  let isHalf = true;
  const fake = await startFake(t, (words, socket) => {
    if (socket.isDeaf) return undefined;
    if (words[0] !== 'SUBSCRIBE' || !isHalf) return usual(words);
    isHalf = false;
    socket.isDeaf = true;
    return usual(words) + message('a:', envelope(1)) + message('a:', envelope(2)).slice(0, -9);
  });
  const target = makeTarget(t, fake, { limits: { heartbeatMs: 40 } });
  const { all } = watch(target);
  const heard = listenTo(target, 'a:');
  await eventually(() => all('gap').length === 1, 'the gap');
  assert.deepEqual([heard.entries.map(({ payload }) => payload), all('gap')[0].topics], [[1], ['a:']]);
});

/** Writes without an end, some in each turn: the server lives in the same thread as the target. */
function pour(socket, text) {
  if (socket.isPouring) return;
  socket.isPouring = true;
  const go = () => {
    if (!socket.writable) return;
    if (socket.writableLength < 1 << 20) socket.write(text);
    setImmediate(go);
  };
  setImmediate(go);
}

test('messages without an end that nobody has asked for starve nobody', async (t) => {
  const flood = message('b:', JSON.stringify({ type: 'b', id: '', payload: 'x'.repeat(1000) })).repeat(200);
  const fake = await startFake(t, (words, socket) => {
    if (words[0] === 'SUBSCRIBE') pour(socket, flood);
    return usual(words);
  });
  const target = makeTarget(t, fake);
  const other = makeTarget(t, fake);
  listenTo(target, 'a:');
  await target.ready('a:');
  await eventually(() => target.stats().unwanted > 10_000, 'a flood');
  // Everybody else's turn comes: another target's, and that of our own publications.
  for (let n = 0; n < 20; n++) {
    publish(target, 'a', '', n);
    publish(other, 'a', '', n);
    await within(Promise.all([target.flush(), other.flush()]), 'the answers');
  }
  assert.deepEqual([target.stats().malformed, target.stats().connects], [0, 1]);
  await endsAtOnce(target);
});

test('errors without an end on the connection that publishes: the next event is written nevertheless, and the target ends when it is told to', async (t) => {
  const fake = await startFake(t, (words, socket) => {
    if (words[0] === 'PUBLISH') pour(socket, '-ERR go away\r\n'.repeat(2000));
    return usual(words);
  });
  const target = makeTarget(t, fake);
  const { all } = watch(target);
  await target.ready();
  for (let n = 0; n < 30; n++) {
    publish(target, 'a', '', n);
    await within(target.flush(), 'the answer');
  }
  assert.ok(all('error').every(({ code }) => code === 'ERR_REFUSED'));
  assert.deepEqual([target.stats().connects, target.stats().sent], [1, 30]);
  await endsAtOnce(target);
});

test('a server that hangs up at once, and one that speaks something else, are tried again with growing delays', async (t) => {
  for (const said of [
    '',
    'HTTP/1.1 400 Bad Request\r\n\r\n',
    '\0\0\0\0',
    `*${'9'.repeat(300)}\r\n`,
    '*1\r\n'.repeat(9),
  ]) {
    const fake = await startFake(t, (_, socket) => void socket.end(said));
    const target = makeTarget(t, fake);
    const { all } = watch(target);
    listenTo(target, 'a:');
    await eventually(() => all('reconnecting').length >= 4, 'four attempts');
    assert.equal(all('reconnecting')[3].cause.code, 'ERR_HANDSHAKE', JSON.stringify(said));
    await endsAtOnce(target);
  }
});
