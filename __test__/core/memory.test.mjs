// The memory target where it differs from the others: names, payloads, synchrony. The rest is the conformance suite's.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent, createMemoryEventTarget } from '../../dist/index.js';

test('dispatch is synchronous and passes the payload itself', () => {
  const target = createMemoryEventTarget();
  const payload = { when: new Date(), self: () => payload };
  let heard;
  target.addEventListener('a:b', (event) => (heard = event.detail.payload));
  target.dispatchEvent(createEvent('a', 'b', payload));
  assert.equal(heard, payload);
});

test('names are free, but for reserved types', () => {
  const target = createMemoryEventTarget();
  let calls = 0;
  target.addEventListener('chat', () => calls++);
  target.dispatchEvent(new CustomEvent('chat'));
  assert.equal(calls, 1);
  assert.throws(() => target.dispatchEvent(new CustomEvent('__subscribe:')), { code: 'ERR_RESERVED_TYPE' });
});

test('stats count what was dispatched and what nobody wanted', () => {
  const target = createMemoryEventTarget();
  target.addEventListener('a:b', () => {});
  for (const id of ['b', 'b', 'c']) target.dispatchEvent(createEvent('a', id, 1));
  assert.deepEqual(target.stats(), { dispatched: 3, unrouted: 1, topics: 1 });
});

test('closing in the turn of its making still raises close, and never open', async () => {
  const target = createMemoryEventTarget();
  const seen = [];
  for (const name of ['open', 'close']) target.addEventListener(name, ({ type, detail }) => seen.push([type, detail]));
  const ready = target.ready();
  await target.close({ code: 1001, reason: 'moving' });
  assert.deepEqual(seen, [['close', { code: 1001, reason: 'moving' }]]);
  await assert.rejects(ready, { code: 'ERR_CLOSED' });
});
