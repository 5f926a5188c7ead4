// Subscriptions of createPubSub do without events on our own targets: nobody may notice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryEventTarget, createPubSub } from '../../dist/index.js';
import { PortTarget } from '../../dist/native-target.js';
import { FakePort } from './fake-port.mjs';

test('a listener beside a subscription gets an event whose detail is the envelope that the subscription gets', async () => {
  const target = createMemoryEventTarget();
  const { publish, subscribe } = createPubSub({ eventTarget: target });
  const subscription = subscribe('a', 'b');
  const events = [];
  const listener = (event) => events.push([event, event.currentTarget]);
  publish('a', 'b', 0);
  target.addEventListener('a:b', listener);
  publish('a', 'b', 1);
  target.removeEventListener('a:b', listener);
  publish('a', 'b', 2);
  assert.equal(events.length, 1);
  const [[event, currentTarget]] = events;
  assert.ok(event instanceof CustomEvent);
  assert.equal(currentTarget, target);
  const envelopes = [];
  for (let n = 0; n < 3; n++) envelopes.push((await subscription.next()).value);
  assert.deepEqual(
    envelopes.map(({ payload }) => payload),
    [0, 1, 2],
  );
  assert.equal(event.detail, envelopes[1]);
});

test('a listener that stops an event keeps it from the subscriptions behind it', async () => {
  const target = createMemoryEventTarget();
  const { publish, subscribe } = createPubSub({ eventTarget: target });
  const before = subscribe('a', 'b');
  target.addEventListener('a:b', (event) => event.stopImmediatePropagation(), { once: true });
  const behind = subscribe('a', 'b');
  publish('a', 'b', 'stopped');
  publish('a', 'b', 'not stopped');
  assert.equal((await before.next()).value.payload, 'stopped');
  assert.equal((await behind.next()).value.payload, 'not stopped');
});

test('a subscription that overflows while an envelope is handed out leaves the others theirs', async () => {
  const { publish, subscribe } = createPubSub({ eventTarget: createMemoryEventTarget() });
  const [first, second] = [subscribe('a', 'b', { maxQueued: 1 }), subscribe('a', 'b')];
  publish('a', 'b', 1);
  publish('a', 'b', 2);
  publish('a', 'b', 3);
  assert.equal((await first.next()).value.payload, 1);
  await assert.rejects(first.next(), { code: 'ERR_SLOW_CONSUMER' });
  for (const n of [1, 2, 3]) assert.equal((await second.next()).value.payload, n);
});

test('two pairs of one topic are told apart without an event, too', async () => {
  const { publish, subscribe } = createPubSub({ eventTarget: createMemoryEventTarget() });
  const subscription = subscribe('a', 'b:c');
  publish('a:b', 'c', 'the other pair');
  publish('a', 'b:c', 'this pair');
  assert.equal((await subscription.next()).value.payload, 'this pair');
});

for (const [name, make] of [
  ['a memory target', () => createMemoryEventTarget()],
  ['a target over a port', () => new PortTarget(new FakePort(), { holds: false })],
]) {
  test(`whatever stands in the place of dispatchEvent on ${name} sees what is published`, () => {
    const target = make();
    const seen = [];
    target.dispatchEvent = (event) => seen.push([event.type, event.detail]);
    createPubSub({ eventTarget: target }).publish('a', 'b', 1);
    assert.deepEqual(seen, [['a:b', { type: 'a', id: 'b', payload: 1 }]]);
  });

  test(`nothing is published to ${name} that is closed`, async () => {
    const target = make();
    const { publish } = createPubSub({ eventTarget: target });
    void target.close();
    publish('a', 'b', 1);
    assert.equal(target.stats().dispatched ?? 0, 0);
  });
}

test('what is published to a target over a port goes out as what is dispatched does', () => {
  const port = new FakePort();
  const { publish } = createPubSub({ eventTarget: new PortTarget(port, { holds: false }) });
  publish('a', 'b', { n: 1 });
  assert.throws(() => publish('a', 'b', 1n), { code: 'ERR_NOT_SERIALIZABLE' });
  assert.deepEqual(port.calls, [['publishOnce', 'a', 'b', '{"n":1}']]);
});
