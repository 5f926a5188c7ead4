// publish and subscribe over any event target: envelopes go out, async iterators of envelopes come back.
// Does not know transports or schemas; the queue of an iterator is subscription.ts, checking is checked-subscription.ts.
// Invariants: a subscription listens from the call of subscribe() on, not from the first pull; the target's `close` and `gap` are
// listened to while there are subscriptions and not otherwise; a target is never closed here; what does not match its schema is not
// dispatched.

import { CheckedSubscription } from './checked-subscription.js';
import { raiseAt } from './life-cycle.js';
import { checkNames, checkTarget, oneOf } from './options.js';
import type { InputsOf, OutputsOf, SchemaMap, StandardSchema } from './standard-schema.js';
import { checkSubscribeOptions, type SubscribeOptions, type Subscription, SubscriptionQueue } from './subscription.js';
import { TargetEvent } from './target-event.js';
import { checkId, checkType, topic as toTopic } from './topic.js';
import type { EventEnvelope, EventsOf, GapDetail, NativeTarget, TypedEventTarget } from './types.js';
import { checkNow, readSchemas, type Schemas } from './validation.js';

/** Where payloads are checked: before they are published, when they are pulled from a subscription, or both. */
export type Validate = 'publish' | 'receive' | 'both';

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
    eventTarget: target,
    publish(type, id, payload) {
      if (subscribers.isClosed) return;
      checkType(type);
      checkId(id);
      const topic = `${type}:${id}` as const;
      const schema = published?.get(type);
      if (schema !== undefined) checkNow(schema, topic, payload);
      target.dispatchEvent(new TargetEvent(topic, { type, id, payload }));
    },
    subscribe: (type, id, subscribeOptions) => subscribers.add(type, id, subscribeOptions),
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface AnyOptions {
  readonly eventTarget?: TypedEventTarget<EventsOf<Record<string, unknown>>>;
  readonly schemas?: object;
  readonly validate?: Validate;
}

function readOptions(options: AnyOptions): {
  target: TypedEventTarget<EventsOf<Record<string, unknown>>>;
  published: Schemas | undefined;
  received: Schemas | undefined;
} {
  checkNames(options, ['eventTarget', 'schemas', 'validate']);
  const { eventTarget: target = new EventTarget() } = options;
  checkTarget('eventTarget', target);
  const validate = oneOf('validate', options.validate, ['publish', 'receive', 'both']) ?? 'both';
  const schemas = options.schemas === undefined ? undefined : readSchemas(options.schemas);
  return {
    target,
    published: validate === 'receive' ? undefined : schemas,
    received: validate === 'publish' ? undefined : schemas,
  };
}

/** The subscriptions of one `createPubSub`, by the topic they listen to. */
class Subscribers {
  readonly #target: EventTarget;
  readonly #schemas: Schemas | undefined;
  readonly #topics = new Map<SubscriptionQueue<EventEnvelope>, string>();
  isClosed = false;

  constructor(target: EventTarget, schemas: Schemas | undefined) {
    this.#target = target;
    this.#schemas = schemas;
  }

  add<TEnvelope>(type: string, id: string, options: SubscribeOptions = {}): Subscription<TEnvelope> {
    checkSubscribeOptions(options);
    const topic = toTopic(type, id);
    const queue: SubscriptionQueue<EventEnvelope> = new SubscriptionQueue(
      { topic, onEnd: () => this.#remove(queue, topic, listener), ready: () => this.#ready(topic, options) },
      options,
    );
    const listener = (event: Event): void => {
      const { detail } = event as CustomEvent<EventEnvelope | null | undefined>;
      // Two pairs can share a topic: ("a","b:c") and ("a:b","c").
      if (detail?.type === type && detail.id === id) queue.push(detail);
    };
    if (this.#canListen && options.signal?.aborted !== true) this.#listen(queue, topic, listener);
    else queue.finish();
    return this.#checked(queue, { type, topic, options }) as Subscription<unknown> as Subscription<TEnvelope>;
  }

  #checked(
    queue: SubscriptionQueue<EventEnvelope>,
    { type, topic, options }: { type: string; topic: string; options: SubscribeOptions },
  ): Subscription<EventEnvelope> {
    const schema = this.#schemas?.get(type);
    if (schema === undefined) return queue;
    return new CheckedSubscription(queue, {
      topic,
      schema,
      options,
      raise: (error) => raiseAt(this.#target, error),
    });
  }

  close(): void {
    this.isClosed = true;
    this.#finishAll();
  }

  get #canListen(): boolean {
    return !this.isClosed && !(isNative(this.#target) && isOver(this.#target));
  }

  #listen(queue: SubscriptionQueue<EventEnvelope>, topic: string, listener: (event: Event) => void): void {
    this.#target.addEventListener(topic, listener);
    this.#topics.set(queue, topic);
    if (this.#topics.size > 1 || !isNative(this.#target)) return;
    this.#target.addEventListener('close', this.#finishAll);
    this.#target.addEventListener('gap', this.#tellGap);
  }

  #remove(queue: SubscriptionQueue<EventEnvelope>, topic: string, listener: (event: Event) => void): void {
    this.#target.removeEventListener(topic, listener);
    if (!this.#topics.delete(queue) || this.#topics.size > 0 || !isNative(this.#target)) return;
    this.#target.removeEventListener('close', this.#finishAll);
    this.#target.removeEventListener('gap', this.#tellGap);
  }

  async #ready(topic: string, { signal }: SubscribeOptions): Promise<{ acknowledged: boolean }> {
    if (!isNative(this.#target)) return { acknowledged: false };
    return this.#target.ready(topic, signal === undefined ? {} : { signal });
  }

  readonly #finishAll = (): void => {
    for (const queue of [...this.#topics.keys()]) queue.finish();
  };

  readonly #tellGap = ({ detail }: CustomEvent<GapDetail>): void => {
    const topics = new Set(detail.topics);
    for (const [queue, topic] of [...this.#topics]) if (topics.has(topic)) queue.pushGap(detail);
  };
}

/** Whether a target has our life cycle. On others `close` and `gap` could be anything, a Redis channel even. */
function isNative(target: EventTarget): target is NativeTarget {
  const { ready, state } = target as Partial<NativeTarget>;
  return typeof ready === 'function' && typeof state === 'string';
}

function isOver({ state }: NativeTarget): boolean {
  return state === 'closing' || state === 'closed';
}
