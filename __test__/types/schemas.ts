// What must compile and what must not: event maps that follow from schemas, and views with bare payloads. Checked by tsc, never run.

import { createPubSub as createYogaPubSub } from '@graphql-yoga/subscription';
import type { TypedEventTarget as YogaTarget } from '@graphql-yoga/typed-event-target';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import { type } from 'arktype';
import * as v from 'valibot';
import { z } from 'zod';
import {
  createMemoryEventTarget,
  createPubSub,
  type EventEnvelope,
  type EventsOf,
  type InvalidPayloadError,
  type PubSub,
  type StandardSchema,
  type Subscription,
  withPayloadDetail,
} from '../../ts/index.js';

declare function expect<T>(value: T): void;

// ---- Types of payloads follow from the schemas of any library ----

const schemas = {
  'chat.msg': z.object({ text: z.string(), at: z.coerce.date().default(new Date(0)) }),
  'user.joined': v.object({
    name: v.pipe(
      v.string(),
      v.transform((name) => name.length),
    ),
  }),
  'user.left': type({ name: 'string' }),
};
const pubsub = createPubSub({ schemas });
pubsub.publish('user.joined', 'r1', { name: 'Ada' });
pubsub.publish('user.left', 'r1', { name: 'Ada' });
pubsub.publish('chat.msg', 'r1', { text: 'hello' });
// @ts-expect-error: no such type
pubsub.publish('chat.message', 'r1', { text: 'hello' });
// @ts-expect-error: what is published is what the schema takes, not what it makes
pubsub.publish('user.joined', 'r1', { name: 3 });
// @ts-expect-error: the payload of another type
pubsub.publish('user.left', 'r1', { text: 'hello' });
for await (const { payload } of pubsub.subscribe('chat.msg', 'r1')) {
  expect<Date>(payload.at);
  expect<string>(payload.text);
}
for await (const { payload } of pubsub.subscribe('user.joined', 'r1')) expect<number>(payload.name);
expect<Subscription<EventEnvelope<'user.left', { name: string }>>>(pubsub.subscribe('user.left', 'r1'));
// @ts-expect-error: no such type
pubsub.subscribe('user', 'r1');
pubsub.eventTarget.addEventListener('user.joined:r1', ({ detail }) => expect<string>(detail.payload.name));

// ---- Checked on publish alone, nothing is transformed ----

const outward = createPubSub({ schemas, validate: 'publish' });
for await (const { payload } of outward.subscribe('user.joined', 'r1')) expect<string>(payload.name);
// @ts-expect-error: no such place
createPubSub({ schemas, validate: 'never' });

// ---- Beside an event map of one's own ----

interface Events {
  'chat.msg': { text: string };
  'user.left': null;
}
const own: PubSub<Events> = createPubSub<Events>({ schemas: { 'chat.msg': z.object({ text: z.string() }) } });
own.publish('user.left', 'r1', null);
// @ts-expect-error: a schema of another payload
createPubSub<Events>({ schemas: { 'chat.msg': z.object({ n: z.number() }) } });
// @ts-expect-error: a schema of a type that is not in the map
createPubSub<Events>({ schemas: { other: z.string() } });
// @ts-expect-error: no schema
createPubSub({ schemas: { 'chat.msg': String } });

pubsub.subscribe('chat.msg', 'r1', {
  onInvalid: (error, envelope) => {
    expect<InvalidPayloadError>(error);
    expect<unknown>(envelope.payload);
    for (const issue of error.issues) expect<string>(issue.message);
  },
  invalid: 'throw',
});

declare const standard: StandardSchemaV1<string, number>;
expect<StandardSchema<string, number>>(standard);
declare const ours: StandardSchema<string, number>;
expect<StandardSchemaV1<string, number>>(ours);

// ---- Bare payloads ----

const target = createMemoryEventTarget<EventsOf<Events>>();
const view = withPayloadDetail<{ text: string }>(target);
view.addEventListener('chat.msg:r1', ({ detail }) => expect<string>(detail.text));
view.dispatchEvent(new CustomEvent('chat.msg:r1', { detail: { text: 'hello' } }));
// @ts-expect-error: not in this payload
view.addEventListener('chat.msg:r1', ({ detail }) => expect(detail.name));
// @ts-expect-error: no target
withPayloadDetail({});

const yoga = createYogaPubSub<{ 'chat.msg': [room: string, payload: { text: string }]; 'user.left': [payload: null] }>({
  eventTarget: withPayloadDetail(target),
});
yoga.publish('chat.msg', 'r1', { text: 'hello' });
for await (const { text } of yoga.subscribe('chat.msg', 'r1')) expect<string>(text);

// ---- Other people's targets ----

declare const foreign: YogaTarget<EventsOf<Events>>;
createPubSub<Events>({ eventTarget: foreign });
expect<YogaTarget<EventsOf<Events>>>(own.eventTarget);
