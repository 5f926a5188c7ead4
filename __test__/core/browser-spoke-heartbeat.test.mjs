// Signs of life: how a spoke in plain TypeScript finds a hub that has fallen silent, and what a suspension means.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { admit, gapsIn, makeOpenSpoke, publish } from './browser-spokes.mjs';
import { envelope } from './played-socket.mjs';

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
