// createPubSub and its subscriptions over targets of this process: contract section 3.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryEventTarget, createPubSub, GapError, SlowConsumerError } from '../../dist/index.js';
import { TargetEvent } from '../../dist/target-event.js';
import { checkIdleReaders } from '../conformance/idle-readers.mjs';

const done = { value: undefined, done: true };
const payloads = async (subscription) => (await Array.fromAsync(subscription)).map(({ payload }) => payload);

/** Array.fromAsync is not in Node 20. */
Array.fromAsync ??= async (source) => {
  const items = [];
  for await (const item of source) items.push(item);
  return items;
};

const gapOf = (...topics) => ({ cause: 'connection-lost', direction: 'in', from: 1, to: 2, topics });

test('a subscription yields envelopes published after subscribe and before the first pull', async () => {
  const { publish, subscribe } = createPubSub();
  publish('chat.msg', 'r1', 'before');
  const subscription = subscribe('chat.msg', 'r1');
  publish('chat.msg', 'r1', { n: 1 });
  publish('chat.msg', 'r2', 'another id');
  assert.deepEqual(await subscription.next(), {
    value: { type: 'chat.msg', id: 'r1', payload: { n: 1 } },
    done: false,
  });
});

test('each event is dispatched once, on the default target as on a given one', () => {
  for (const eventTarget of [undefined, new EventTarget(), createMemoryEventTarget()]) {
    const pubsub = createPubSub({ eventTarget });
    const seen = [];
    pubsub.eventTarget.addEventListener('a:b', ({ type, detail }) => seen.push([type, detail]));
    pubsub.publish('a', 'b', 1);
    assert.deepEqual(seen, [['a:b', { type: 'a', id: 'b', payload: 1 }]]);
  }
});

test('asking for the target changes nothing for the subscriptions that are there', async () => {
  const pubsub = createPubSub();
  const [before, left, full] = [
    pubsub.subscribe('a', 'b'),
    pubsub.subscribe('a', 'b'),
    pubsub.subscribe('a', 'b', { maxQueued: 1 }),
  ];
  pubsub.publish('a', 'b', 1);
  pubsub.publish('a', 'b', 2);
  const { eventTarget } = pubsub;
  assert.equal(pubsub.eventTarget, eventTarget);
  assert.equal(Object.getPrototypeOf(eventTarget), EventTarget.prototype);
  const after = pubsub.subscribe('a', 'b');
  const seen = [];
  eventTarget.addEventListener('a:b', ({ detail }) => seen.push(detail.payload));
  pubsub.publish('a', 'b', 3);
  await left.return();
  eventTarget.dispatchEvent(new CustomEvent('a:b', { detail: { type: 'a', id: 'b', payload: 4 } }));
  await pubsub.close();
  assert.deepEqual(seen, [3, 4]);
  assert.deepEqual(await payloads(before), [1, 2, 3, 4]);
  assert.deepEqual(await payloads(after), [3, 4]);
  assert.equal((await full.next()).value.payload, 1);
  await assert.rejects(full.next(), SlowConsumerError);
});

test('while nobody has the target, an overflow among the readers of an event costs the others nothing', async () => {
  const { publish, subscribe } = createPubSub();
  const readers = [1, 9, 1, 9].map((maxQueued) => subscribe('a', 'b', { maxQueued }));
  const other = subscribe('a', 'c');
  for (const n of [1, 2, 3]) publish('a', 'b', n);
  for (const reader of [readers[1], readers[3]])
    for (const n of [1, 2, 3]) assert.equal((await reader.next()).value.payload, n);
  for (const reader of [readers[0], readers[2]]) {
    assert.equal((await reader.next()).value.payload, 1);
    await assert.rejects(reader.next(), SlowConsumerError);
  }
  publish('a', 'c', 4);
  assert.equal((await other.next()).value.payload, 4);
});

test('publish throws on reserved and empty types and on ids that are no strings', () => {
  const { publish, subscribe } = createPubSub();
  assert.throws(() => publish('__hello', '', 1), { code: 'ERR_RESERVED_TYPE' });
  assert.throws(() => publish('', '', 1), { code: 'ERR_INVALID_TOPIC' });
  assert.throws(() => publish('a', 5, 1), { code: 'ERR_INVALID_TOPIC' });
  assert.throws(() => subscribe('a', undefined), { code: 'ERR_INVALID_TOPIC' });
});

test('two pairs with one topic do not hear each other', async () => {
  const { publish, subscribe } = createPubSub();
  const left = subscribe('a', 'b:c');
  const right = subscribe('a:b', 'c');
  publish('a:b', 'c', 'right');
  publish('a', 'b:c', 'left');
  assert.equal((await left.next()).value.payload, 'left');
  assert.equal((await right.next()).value.payload, 'right');
});

test('an event under the right name without an envelope is not yielded', async () => {
  const { eventTarget, publish, subscribe } = createPubSub();
  const subscription = subscribe('a', 'b');
  for (const detail of [null, undefined, 5, { type: 'a' }])
    eventTarget.dispatchEvent(new CustomEvent('a:b', { detail }));
  publish('a', 'b', 'right');
  assert.equal((await subscription.next()).value.payload, 'right');
});

test('next() calls that wait are served in the order in which they were made', async () => {
  const { publish, subscribe } = createPubSub();
  const subscription = subscribe('a', 'b');
  const pulls = [subscription.next(), subscription.next(), subscription.next()];
  for (const n of [1, 2, 3, 4]) publish('a', 'b', n);
  assert.deepEqual(
    (await Promise.all(pulls)).map(({ value }) => value.payload),
    [1, 2, 3],
  );
  assert.equal((await subscription.next()).value.payload, 4);
});

test('two subscriptions of a pair get one and the same envelope', async () => {
  for (const eventTarget of [undefined, new EventTarget(), createMemoryEventTarget()]) {
    const { publish, subscribe } = createPubSub({ eventTarget });
    const [first, second] = [subscribe('a', 'b'), subscribe('a', 'b')];
    publish('a', 'b', { n: 1 });
    assert.equal((await first.next()).value, (await second.next()).value);
  }
});

test('a hundred thousand events with a reader in between keep their order', async () => {
  const { publish, subscribe } = createPubSub();
  const subscription = subscribe('a', 'b');
  let read = 0;
  for (let n = 0; n < 100_000; n++) {
    publish('a', 'b', n);
    if (n % 3 !== 0) assert.equal((await subscription.next()).value.payload, read++);
    if (n % 30_000 === 0) while (read < n) assert.equal((await subscription.next()).value.payload, read++);
  }
  while (read < 100_000) assert.equal((await subscription.next()).value.payload, read++);
});

/** A target that says how many listeners it has. */
class CountingTarget extends EventTarget {
  listeners = 0;

  addEventListener(...args) {
    this.listeners++;
    super.addEventListener(...args);
  }

  removeEventListener(...args) {
    this.listeners--;
    super.removeEventListener(...args);
  }
}

const waysToLeave = {
  'leaving the loop': async (subscription, publish) => {
    publish('a', 'b', 1);
    for await (const _ of subscription) break;
  },
  'return()': async (subscription) => assert.deepEqual(await subscription.return(), done),
  'throw()': async (subscription) => {
    const error = new Error('mine');
    await assert.rejects(subscription.throw(error), error);
  },
  asyncDispose: (subscription) => subscription[Symbol.asyncDispose](),
  'the signal': async (_subscription, _publish, controller) => controller.abort(),
};

for (const [name, leave] of Object.entries(waysToLeave)) {
  test(`${name} removes the listener, drops what is queued and ends the iteration`, async () => {
    const eventTarget = new CountingTarget();
    const { publish, subscribe } = createPubSub({ eventTarget });
    const controller = new AbortController();
    const subscription = subscribe('a', 'b', { signal: controller.signal });
    assert.equal(eventTarget.listeners, 1);
    publish('a', 'b', 'queued');
    publish('a', 'b', 'queued');
    await leave(subscription, publish, controller);
    assert.equal(eventTarget.listeners, 0);
    publish('a', 'b', 'late');
    assert.deepEqual(await subscription.next(), done);
    assert.deepEqual(await subscription.return(), done);
  });
}

test('a signal that is aborted already gives an ended subscription', async () => {
  const { subscribe } = createPubSub();
  assert.deepEqual(await subscribe('a', 'b', { signal: AbortSignal.abort() }).next(), done);
});

test('whoever waits when the iteration ends gets the end', async () => {
  const { subscribe } = createPubSub();
  const subscription = subscribe('a', 'b');
  const pulls = [subscription.next(), subscription.next()];
  await subscription.return();
  assert.deepEqual(await Promise.all(pulls), [done, done]);
});

test('a full queue ends the subscription with SlowConsumerError after what was queued', async () => {
  const eventTarget = new CountingTarget();
  const { publish, subscribe } = createPubSub({ eventTarget });
  const subscription = subscribe('a', 'b', { maxQueued: 3 });
  for (const n of [1, 2, 3]) publish('a', 'b', n);
  assert.equal(eventTarget.listeners, 1);
  for (const n of [4, 5]) publish('a', 'b', n);
  assert.equal(eventTarget.listeners, 0);
  const seen = [];
  await assert.rejects(async () => {
    for await (const { payload } of subscription) seen.push(payload);
  }, SlowConsumerError);
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(await subscription.next(), done);
});

test('drop-oldest keeps the newest events and counts the others', async () => {
  const { publish, subscribe } = createPubSub();
  const subscription = subscribe('a', 'b', { maxQueued: 3, overflow: 'drop-oldest' });
  for (const n of [1, 2, 3, 4, 5]) publish('a', 'b', n);
  assert.equal(subscription.dropped, 2);
  for (const n of [3, 4, 5]) assert.equal((await subscription.next()).value.payload, n);
});

test('drop-newest keeps the oldest events and counts the others', async () => {
  const { publish, subscribe } = createPubSub();
  const subscription = subscribe('a', 'b', { maxQueued: 3, overflow: 'drop-newest' });
  for (const n of [1, 2, 3, 4, 5]) publish('a', 'b', n);
  assert.equal(subscription.dropped, 2);
  for (const n of [1, 2, 3]) assert.equal((await subscription.next()).value.payload, n);
  publish('a', 'b', 6);
  assert.equal((await subscription.next()).value.payload, 6);
});

test('the default bound is 16 384 events', async () => {
  const { publish, subscribe } = createPubSub();
  const subscription = subscribe('a', 'b');
  for (let n = 0; n < 16_385; n++) publish('a', 'b', n);
  let read = 0;
  await assert.rejects(async () => {
    for await (const _ of subscription) read++;
  }, SlowConsumerError);
  assert.equal(read, 16_384);
});

for (const [where, options] of [
  ['on the platform’s EventTarget', { eventTarget: new EventTarget() }],
  ['where nobody has the target', {}],
]) {
  test(`an idle reader of a hundred thousand events ends as its overflow rule says, ${where}`, async () => {
    const pubsub = createPubSub(options);
    await checkIdleReaders(pubsub, async (numbers) => {
      for (const n of numbers) pubsub.publish('a', 'b', n);
    });
  });
}

test('options are checked at once', () => {
  const { subscribe } = createPubSub();
  assert.throws(() => subscribe('a', 'b', { maxQueued: -5 }), {
    name: 'TypeError',
    message: 'maxQueued must be a positive integer, got -5',
  });
  assert.throws(() => subscribe('a', 'b', { overflow: 'drop' }), /overflow must be one of/);
  assert.throws(() => subscribe('a', 'b', { onGap: 5 }), /onGap must be a function/);
  assert.throws(() => subscribe('a', 'b', { maxQueue: 5 }), /no "maxQueue"; known are/);
});

test('the close of a target ends its subscriptions after what is queued', async () => {
  const eventTarget = createMemoryEventTarget();
  const { publish, subscribe } = createPubSub({ eventTarget });
  const subscription = subscribe('a', 'b');
  publish('a', 'b', 1);
  const waiting = subscribe('a', 'c').next();
  await eventTarget.close();
  assert.deepEqual(await payloads(subscription), [1]);
  assert.deepEqual(await waiting, done);
  assert.deepEqual(await subscribe('a', 'b').next(), done);
});

test('close() ends the subscriptions after what is queued and leaves the target open', async () => {
  const eventTarget = createMemoryEventTarget();
  const pubsub = createPubSub({ eventTarget });
  const subscription = pubsub.subscribe('a', 'b');
  pubsub.publish('a', 'b', 1);
  await pubsub.close();
  pubsub.publish('a', 'b', 'no-op');
  assert.deepEqual(await payloads(subscription), [1]);
  assert.deepEqual(await pubsub.subscribe('a', 'b').next(), done);
  await eventTarget.ready();
  assert.equal(eventTarget.state, 'open');
  await pubsub[Symbol.asyncDispose]();
});

test('life-cycle events of a target are listened to only while there are subscriptions', async () => {
  const eventTarget = createMemoryEventTarget();
  const { subscribe } = createPubSub({ eventTarget });
  const topics = () => eventTarget.stats().topics;
  assert.equal(topics(), 0);
  const [first, second] = [subscribe('a', 'b'), subscribe('a', 'c')];
  assert.equal(topics(), 4);
  await first.return();
  await second.return();
  assert.equal(topics(), 0);
});

test('ready is the target’s answer for the topic', async () => {
  const eventTarget = createMemoryEventTarget();
  assert.deepEqual(await createPubSub({ eventTarget }).subscribe('a', 'b').ready, { acknowledged: true });
  const left = createPubSub({ eventTarget }).subscribe('a', 'left');
  await left.return();
  await assert.rejects(left.ready, { code: 'ERR_NOT_SUBSCRIBED' });
  assert.deepEqual(await createPubSub().subscribe('a', 'b').ready, { acknowledged: false });
});

test('onGap is called between the events that the gap stands between, and only for its topics', async () => {
  const eventTarget = createMemoryEventTarget();
  const { publish, subscribe } = createPubSub({ eventTarget });
  const log = [];
  const subscription = subscribe('a', 'b', { onGap: ({ topics }) => log.push(`gap in ${topics}`) });
  subscribe('a', 'other', { onGap: () => assert.fail('not its topic') });
  const raise = (...topics) => eventTarget.dispatchEvent(new TargetEvent('gap', gapOf(...topics)));
  publish('a', 'b', 1);
  raise('a:b', 'x:y');
  raise('x:y');
  publish('a', 'b', 2);
  assert.deepEqual(log, []);
  for (let i = 0; i < 2; i++) log.push((await subscription.next()).value.payload);
  raise('a:b');
  assert.deepEqual(log, [1, 'gap in a:b,x:y', 2, 'gap in a:b']);
});

test('gap marks take no place in the queue and are told of when events before them are dropped', async () => {
  const eventTarget = createMemoryEventTarget();
  const { publish, subscribe } = createPubSub({ eventTarget });
  let gaps = 0;
  const subscription = subscribe('a', 'b', { maxQueued: 2, overflow: 'drop-oldest', onGap: () => gaps++ });
  publish('a', 'b', 1);
  eventTarget.dispatchEvent(new TargetEvent('gap', gapOf('a:b')));
  for (const n of [2, 3, 4]) publish('a', 'b', n);
  assert.deepEqual([gaps, subscription.dropped], [1, 2]);
  for (const n of [3, 4]) assert.equal((await subscription.next()).value.payload, n);
});

test('gap: "throw" ends with GapError after what came before', async () => {
  const eventTarget = createMemoryEventTarget();
  const { publish, subscribe } = createPubSub({ eventTarget });
  const subscription = subscribe('a', 'b', { gap: 'throw' });
  publish('a', 'b', 1);
  eventTarget.dispatchEvent(new TargetEvent('gap', gapOf('a:b')));
  publish('a', 'b', 2);
  assert.equal((await subscription.next()).value.payload, 1);
  await assert.rejects(subscription.next(), (error) => error instanceof GapError && error.gap.from === 1);
  assert.deepEqual(await subscription.next(), done);
});
