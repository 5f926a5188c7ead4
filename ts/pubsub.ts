// publish and subscribe over any event target: envelopes go out, async iterators of envelopes come back.
// Does not know transports; subscriptions are subscribers.ts, the queue of each is subscription.ts, schemas are validation.ts.
// Invariants: what does not match its schema is not dispatched; a target is never closed here.

import { checkNames, checkTarget, oneOf } from './options.js';
import type { InputsOf, OutputsOf, SchemaMap, StandardSchema } from './standard-schema.js';
import { Subscribers } from './subscribers.js';
import type { SubscribeOptions, Subscription } from './subscription.js';
import { checkId, checkType } from './topic.js';
import type { EventEnvelope, EventsOf, TypedEventTarget } from './types.js';
import { checkNow, readSchemas, type Schemas } from './validation.js';

/** Where payloads are checked: before they are published, when they are pulled from a subscription, or both. */
export type Validate = 'publish' | 'receive' | 'both';

/** Over which target events go, and against which schemas payloads are checked. */
export interface PubSubOptions<TEventMap extends object> {
  /** Where events go and come from. Default: an `EventTarget` of this process. */
  readonly eventTarget?: TypedEventTarget<EventsOf<TEventMap>>;
  /** Schemas (https://standardschema.dev) by type; types without one are not checked. */
  readonly schemas?: { readonly [TType in keyof TEventMap]?: StandardSchema<TEventMap[TType], TEventMap[TType]> };
  /** Default "both". */
  readonly validate?: Validate;
}

/** Options where the event map follows from the schemas: their inputs are published, their outputs received. */
export interface SchemaPubSubOptions<TSchemas extends SchemaMap, TValidate extends Validate> {
  readonly eventTarget?: TypedEventTarget<EventsOf<InputsOf<TSchemas>>>;
  /** Schemas (https://standardschema.dev) by type. */
  readonly schemas: TSchemas;
  /** Default "both". With "publish" nobody transforms what is received: subscribers get what was published. */
  readonly validate?: TValidate;
}

/** What subscribers get: what schemas make of payloads, unless those are only checked when they are published. */
export type ReceivedOf<TSchemas extends SchemaMap, TValidate extends Validate> = TValidate extends 'publish'
  ? InputsOf<TSchemas>
  : OutputsOf<TSchemas>;

/**
 * `TEventMap` maps types to the payloads that subscribers get: `{ 'chat.msg': { text: string } }`. `TPublished` maps them to those
 * that are published and travel; they are the same unless a schema transforms.
 */
export interface PubSub<TEventMap extends object, TPublished extends object = TEventMap> extends AsyncDisposable {
  /** The target that was given, or that was made. */
  readonly eventTarget: TypedEventTarget<EventsOf<TPublished>>;
  /** Dispatches one event. Throws `InvalidPayloadError` when its payload does not match its schema. */
  publish<TType extends keyof TPublished & string>(type: TType, id: string, payload: TPublished[TType]): void;
  /** Listens at once and yields the envelopes of exactly this type and id. */
  subscribe<TType extends keyof TEventMap & string>(
    type: TType,
    id: string,
    options?: SubscribeOptions,
  ): Subscription<EventEnvelope<TType, TEventMap[TType]>>;
  /** Ends all subscriptions after what is queued in them; the target stays open. */
  close(): Promise<void>;
}

/**
 * Makes publish and subscribe over an event target.
 *
 * ```js
 * const pubsub = createPubSub();
 * const messages = pubsub.subscribe('chat.msg', 'r1');
 * pubsub.publish('chat.msg', 'r1', { text: 'hello' });
 * for await (const { payload } of messages) console.log(payload.text);
 * ```
 */
export function createPubSub<const TSchemas extends SchemaMap, TValidate extends Validate = 'both'>(
  options: SchemaPubSubOptions<TSchemas, TValidate>,
): PubSub<ReceivedOf<TSchemas, TValidate>, InputsOf<TSchemas>>;
export function createPubSub<TEventMap extends object = Record<string, unknown>>(
  options?: PubSubOptions<TEventMap>,
): PubSub<TEventMap>;
export function createPubSub(options: AnyOptions = {}): PubSub<Record<string, unknown>> {
  const { target, published, received } = readOptions(options);
  const subscribers = new Subscribers(target, received);
  const close = async (): Promise<void> => subscribers.close();
  return {
    get eventTarget() {
      return subscribers.target;
    },
    publish(type, id, payload) {
      if (subscribers.isClosed) return;
      checkType(type);
      checkId(id);
      const schema = published?.get(type);
      if (schema !== undefined) checkNow(schema, `${type}:${id}`, payload);
      subscribers.dispatch({ type, id, payload });
    },
    subscribe: (type, id, subscribeOptions) => subscribers.add(type, id, subscribeOptions),
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface AnyOptions {
  readonly eventTarget?: EventTarget;
  readonly schemas?: object;
  readonly validate?: Validate;
}

function readOptions(options: AnyOptions): {
  target: EventTarget | undefined;
  published: Schemas | undefined;
  received: Schemas | undefined;
} {
  checkNames(options, ['eventTarget', 'schemas', 'validate']);
  const { eventTarget: target } = options;
  if (target !== undefined) checkTarget('eventTarget', target);
  const validate = oneOf('validate', options.validate, ['publish', 'receive', 'both']) ?? 'both';
  const schemas = options.schemas === undefined ? undefined : readSchemas(options.schemas);
  return {
    target,
    published: validate === 'receive' ? undefined : schemas,
    received: validate === 'publish' ? undefined : schemas,
  };
}
