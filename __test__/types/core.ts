// What must compile and what must not: envelopes, events, targets, publish and subscribe. Checked by tsc, never run.

import type { TypedEventTarget as YogaTarget } from '@graphql-yoga/typed-event-target';
import {
  createEvent,
  createMemoryEventTarget,
  createPubSub,
  type EventEnvelope,
  type EventsOf,
  type NativeTarget,
  PubSubError,
  type Subscription,
  type TypedEventTarget,
  topic,
} from '../../ts/index.js';

interface Events {
  'chat.msg': { n: number };
  'user.joined': { name: string };
}

type Event = EventsOf<Events>;

declare function expect<T>(value: T): void;

// ---- publish and subscribe ----

const pubsub = createPubSub<Events>();
pubsub.publish('chat.msg', 'r1', { n: 1 });
// @ts-expect-error: no such type
pubsub.publish('chat.message', 'r1', { n: 1 });
// @ts-expect-error: the id is a string
pubsub.publish('chat.msg', 1, { n: 1 });
// @ts-expect-error: the payload of another type
pubsub.publish('chat.msg', 'r1', { name: 'x' });
// @ts-expect-error: the payload is missing
pubsub.publish('chat.msg', 'r1');

const messages = pubsub.subscribe('chat.msg', 'r1', {
  maxQueued: 5,
  overflow: 'drop-oldest',
  onGap: ({ topics }) => expect<readonly string[]>(topics),
});
expect<Subscription<EventEnvelope<'chat.msg', { n: number }>>>(messages);
for await (const { type, id, payload } of messages) {
  expect<'chat.msg'>(type);
  expect<string>(id);
  expect<number>(payload.n);
  // @ts-expect-error: not in this payload
  expect(payload.name);
}
// @ts-expect-error: no such type
pubsub.subscribe('chat', 'r1');
// @ts-expect-error: no such rule
pubsub.subscribe('chat.msg', 'r1', { overflow: 'drop' });
const [first] = [await messages.next()];
if (first.done === true) expect<undefined>(first.value);
else expect<number>(first.value.payload.n);
expect<{ acknowledged: boolean }>(await messages.ready);
await using _disposed = messages;

createPubSub<Events>({ eventTarget: new EventTarget() });
createPubSub<Events>({ eventTarget: createMemoryEventTarget<Event>() });
// @ts-expect-error: a target of other events
createPubSub<Events>({ eventTarget: createMemoryEventTarget<EventsOf<{ other: number }>>() });
createPubSub().publish('anything', 'x', 5);

// ---- targets ----

const target = createMemoryEventTarget<Event>();
target.addEventListener('chat.msg:r1', (event) => {
  expect<'chat.msg'>(event.detail.type);
  expect<number>(event.detail.payload.n);
});
target.addEventListener(
  'user.joined:',
  { handleEvent: ({ detail }) => expect<string>(detail.payload.name) },
  { once: true },
);
target.addEventListener('chat.msg:r1', null);
target.removeEventListener('chat.msg:r1', null, true);
// @ts-expect-error: no such topic
target.addEventListener('chat.message:r1', () => {});
target.addEventListener('gap', ({ detail }) => expect<number>(detail.from));
target.addEventListener('error', ({ detail }) => expect<PubSubError>(detail));
target.addEventListener('close', ({ detail }) => expect<number>(detail.code));
target.dispatchEvent(createEvent('chat.msg', 'r1', { n: 1 }));
// @ts-expect-error: the payload of another type
target.dispatchEvent(createEvent('chat.msg', 'r1', { name: 'x' }));
// @ts-expect-error: no envelope
target.dispatchEvent(new CustomEvent('chat.msg:r1', { detail: 5 }));
expect<`chat.msg:${string}`>(topic('chat.msg', 'r1'));
// @ts-expect-error: read-only
target.state = 'open';

// ---- beside other people's types ----

expect<YogaTarget<Event>>(target);
expect<TypedEventTarget<Event>>(target);
expect<YogaTarget<Event>>(pubsub.eventTarget);
expect<EventTarget>(target);
expect<NativeTarget>(createMemoryEventTarget());
expect<AsyncDisposable>(target);

const error = new PubSubError('ERR_CLOSED', 'x');
if (error.code === 'ERR_SLOW_CONSUMER') expect<string>(error.code);
