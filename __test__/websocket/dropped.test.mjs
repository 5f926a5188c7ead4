// `error.dropped`: what was lost is the sum over all errors of a code, the first one included.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { WebSocket } from 'ws';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

/** Adds up what errors stand for, by code. */
function watch(target) {
  const sums = {};
  target.addEventListener('error', ({ detail: { code, dropped } }) => (sums[code] = (sums[code] ?? 0) + dropped));
  return sums;
}

const NOWHERE = 'ws://127.0.0.1:1';

for (const [name, options] of [
  ['native', {}],
  ['plain', { WebSocket }],
]) {
  test(`a ${name} spoke without a link: one dropped event is one, and so is one that close() leaves`, async (t) => {
    const spoke = makeSpoke(t, NOWHERE, { ...options, maxBufferedAmount: 100 });
    const sums = watch(spoke);
    // One alone may always wait.
    spoke.dispatchEvent(createEvent('a', 'b', 'x'.repeat(1000)));
    spoke.dispatchEvent(createEvent('a', 'b', 1));
    await spoke.close({ timeoutMs: 0 });
    assert.deepEqual([sums, spoke.stats().dropped], [{ ERR_BUFFER_FULL: 1, ERR_CLOSED: 1 }, 2]);
  });

  test(`a ${name} spoke without a link: a storm of them adds up`, async (t) => {
    const spoke = makeSpoke(t, NOWHERE, { ...options, maxBufferedAmount: 100 });
    const sums = watch(spoke);
    for (let n = 0; n < 1001; n++) spoke.dispatchEvent(createEvent('a', 'b', 'x'.repeat(1000)));
    await spoke.close({ timeoutMs: 0 });
    assert.deepEqual([sums, spoke.stats().dropped], [{ ERR_BUFFER_FULL: 1000, ERR_CLOSED: 1 }, 1001]);
  });
}

test('a hub: what found no room adds up to its counter', async (t) => {
  const hub = await makeHub(t, { maxPendingBytes: 10_000 });
  const sums = watch(hub);
  for (let n = 0; n < 1000; n++) hub.dispatchEvent(createEvent('a', 'b', 'x'.repeat(5000)));
  await hub.close();
  const { dropped } = hub.stats();
  assert.ok(dropped > 0, 'the flood was large enough');
  assert.equal((sums.ERR_BUFFER_FULL ?? 0) + (sums.ERR_CLOSED ?? 0), dropped);
});

test('publications that are refused add up to the counter of the spoke', async (t) => {
  const hub = await makeHub(t, { authorize: { connect: () => ({ subscribe: ['*'] }) } });
  const spoke = await makeOpenSpoke(t, hub);
  const sums = watch(spoke);
  for (let n = 0; n < 100; n++) spoke.dispatchEvent(createEvent('a', 'b', n));
  // The answer to a topic comes behind the refusals.
  spoke.addEventListener('a:b', () => {});
  await spoke.ready('a:b');
  await spoke.close();
  assert.deepEqual([sums, spoke.stats().refused], [{ ERR_FORBIDDEN: spoke.stats().refused }, spoke.stats().refused]);
  assert.ok(spoke.stats().refused > 0);
});
