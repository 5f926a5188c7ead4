// What a spoke answers when the engine asks where to connect.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpokeTarget } from '../../dist/spoke-target.js';
import { FakePort } from './fake-port.mjs';

async function dial(destination) {
  const port = new FakePort();
  const target = new SpokeTarget(port, { destination });
  port.notice({ kind: 'dial', token: 3, attempt: 1 });
  await port.delivered();
  port.notice({ kind: 'closed', code: 1000, reason: '' });
  await target.closed;
  return port.calls;
}

test('each dial is answered with the destination of that moment', async () => {
  const headers = [['authorization', 'Bearer 1']];
  const calls = await dial(async () => ({ url: 'ws://127.0.0.1/', headers }));
  assert.deepEqual(calls, [['provide', 3, 'ws://127.0.0.1/', headers]]);
});

test('a destination that cannot be made declines the attempt and says why', async () => {
  const calls = await dial(async () => {
    throw new Error('no token today');
  });
  assert.deepEqual(calls, [['decline', 3, 'no token today']]);
});
