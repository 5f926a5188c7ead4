// publish and subscribe over any event target: envelopes go out, async iterators of envelopes come back.
// Does not know transports; the queue of an iterator is subscription.ts.
// Invariants: a subscription listens from the call of subscribe() on, not from the first pull; the target's `close` and `gap` are
// listened to while there are subscriptions and not otherwise; a target is never closed here.

import { checkSubscribeOptions, type SubscribeOptions, type Subscription, SubscriptionQueue } from './subscription.js';
import { TargetEvent } from './target-event.js';
import { checkId, checkType, topic as toTopic } from './topic.js';
import type { EventEnvelope, EventsOf, GapDetail, NativeTarget, TypedEventTarget } from './types.js';

export interface PubSubOptions<TEventMap extends object> {
  /** Where events go and come from. Default: an `EventTarget` of this process. */
  readonly eventTarget?: TypedEventTarget<EventsOf<TEventMap>>;
}

/** `TEventMap` maps types to payloads: `{ 'chat.msg': { text: string } }`. */
export interface PubSub<TEventMap extends object> extends AsyncDisposable {
  readonly eventTarget: TypedEventTarget<EventsOf<TEventMap>>;
  /** Dispatches one event. */
  publish<TType extends keyof TEventMap & string>(type: TType, id: string, payload: TEventMap[TType]): void;
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
export function createPubSub<TEventMap extends object = Record<string, unknown>>(
  options: PubSubOptions<TEventMap> = {},
): PubSub<TEventMap> {
  const target = options.eventTarget ?? new EventTarget();
  const subscribers = new Subscribers(target);
  const close = async (): Promise<void> => subscribers.close();
  return {
    eventTarget: target as TypedEventTarget<EventsOf<TEventMap>>,
    publish(type, id, payload) {
      if (subscribers.isClosed) return;
      checkType(type);
      checkId(id);
      target.dispatchEvent(new TargetEvent(`${type}:${id}`, { type, id, payload }));
    },
    subscribe: (type, id, subscribeOptions) => subscribers.add(type, id, subscribeOptions),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The subscriptions of one `createPubSub`, by the topic they listen to. */
class Subscribers {
  readonly #target: EventTarget;
  readonly #topics = new Map<SubscriptionQueue<EventEnvelope>, string>();
  isClosed = false;

  constructor(target: EventTarget) {
    this.#target = target;
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
    return queue as unknown as Subscription<TEnvelope>;
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

  readonly #tellGap = (event: CustomEvent<GapDetail>): void => {
    for (const [queue, topic] of [...this.#topics])
      if (event.detail.topics.includes(topic)) queue.pushGap(event.detail);
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
