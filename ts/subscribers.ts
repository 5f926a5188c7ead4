// The subscriptions of one createPubSub and the target that they listen to; dispatches to it.
// Does not queue events (subscription.ts) and does not check payloads (checked-subscription.ts).
// Invariants: a subscription listens from the call of subscribe() on, not from the first pull; the target's `close` and `gap` are
// listened to while there are subscriptions and not otherwise; events are made from the moment on when somebody has the target.

import { CheckedSubscription } from './checked-subscription.js';
import { type Direct, dispatchEnvelope } from './direct.js';
import { type Hearer, hear, TableEventTarget } from './event-target.js';
import { raiseAt } from './life-cycle.js';
import { LocalDelivery } from './local-delivery.js';
import { checkSubscribeOptions, type SubscribeOptions, type Subscription, SubscriptionQueue } from './subscription.js';
import { TargetEvent } from './target-event.js';
import { topic as toTopic } from './topic.js';
import type { EventEnvelope, GapDetail, NativeTarget } from './types.js';
import type { Schemas } from './validation.js';

/** A subscription and what it listens to. */
interface Subscriber {
  readonly type: string;
  readonly id: string;
  readonly topic: string;
  readonly queue: SubscriptionQueue<EventEnvelope>;
  readonly listener: Hearer;
}

export class Subscribers {
  /** None until somebody asks for it, unless it was given. */
  #target: EventTarget | undefined;
  readonly #schemas: Schemas | undefined;
  /** In the order of their making. */
  readonly #all = new Set<Subscriber>();
  /** There while there is no target. */
  #local: LocalDelivery | undefined;
  /** Of the last envelope that was dispatched: publishers repeat themselves, and a string that is known is found quickly. */
  #last = { type: '', id: '', topic: '' };
  isClosed = false;

  constructor(target: EventTarget | undefined, schemas: Schemas | undefined) {
    this.#target = target;
    this.#local = target === undefined ? new LocalDelivery() : undefined;
    this.#schemas = schemas;
  }

  /** The target; whoever asks for it may listen and dispatch there. */
  get target(): EventTarget {
    if (this.#target === undefined) {
      this.#target = new EventTarget();
      this.#local = undefined;
      for (const { topic, listener } of this.#all) this.#target.addEventListener(topic, listener);
    }
    return this.#target;
  }

  dispatch(envelope: EventEnvelope): void {
    if (this.#local !== undefined) this.#local.deliver(envelope);
    else dispatchAt(this.target, this.#topicOf(envelope), envelope);
  }

  #topicOf({ type, id }: EventEnvelope): string {
    if (this.#last.type !== type || this.#last.id !== id) this.#last = { type, id, topic: `${type}:${id}` };
    return this.#last.topic;
  }

  add<TEnvelope>(type: string, id: string, options: SubscribeOptions = {}): Subscription<TEnvelope> {
    checkSubscribeOptions(options);
    const subscriber = this.#makeSubscriber(type, id, options);
    if (this.#canListen && options.signal?.aborted !== true) this.#listen(subscriber);
    else subscriber.queue.finish();
    return this.#checked(subscriber, options) as Subscription<unknown> as Subscription<TEnvelope>;
  }

  close(): void {
    this.isClosed = true;
    this.#finishAll();
  }

  #makeSubscriber(type: string, id: string, options: SubscribeOptions): Subscriber {
    const topic = toTopic(type, id);
    const queue = new SubscriptionQueue<EventEnvelope>(
      { topic, onEnd: () => this.#remove(subscriber), ready: () => this.#ready(topic, options) },
      options,
    );
    const take = (given: Event | EventEnvelope): void => {
      const envelope =
        'detail' in given ? (given as CustomEvent<EventEnvelope | null>).detail : (given as EventEnvelope);
      // Two pairs can share a topic: ("a","b:c") and ("a:b","c").
      if (envelope?.type === type && envelope.id === id) queue.push(envelope);
    };
    const listener: Hearer = Object.assign(take, { [hear]: true } as const);
    const subscriber = { type, id, topic, queue, listener };
    return subscriber;
  }

  #checked({ queue, type, topic }: Subscriber, options: SubscribeOptions): Subscription<EventEnvelope> {
    const schema = this.#schemas?.get(type);
    if (schema === undefined) return queue;
    return new CheckedSubscription(queue, { topic, schema, options, raise: (error) => raiseAt(this.#target, error) });
  }

  get #canListen(): boolean {
    return !this.isClosed && !(isNative(this.#target) && isOver(this.#target));
  }

  #listen(subscriber: Subscriber): void {
    const { type, id, topic, queue, listener } = subscriber;
    if (this.#local !== undefined) this.#local.add(type, id, queue);
    else this.target.addEventListener(topic, listener);
    this.#all.add(subscriber);
    if (this.#all.size > 1 || !isNative(this.#target)) return;
    this.#target.addEventListener('close', this.#finishAll);
    this.#target.addEventListener('gap', this.#tellGap);
  }

  #remove(subscriber: Subscriber): void {
    const { type, id, topic, queue, listener } = subscriber;
    if (this.#local !== undefined) this.#local.remove(type, id, queue);
    else this.target.removeEventListener(topic, listener);
    if (!this.#all.delete(subscriber) || this.#all.size > 0 || !isNative(this.#target)) return;
    this.#target.removeEventListener('close', this.#finishAll);
    this.#target.removeEventListener('gap', this.#tellGap);
  }

  async #ready(topic: string, { signal }: SubscribeOptions): Promise<{ acknowledged: boolean }> {
    if (!isNative(this.#target)) return { acknowledged: false };
    return this.#target.ready(topic, signal === undefined ? {} : { signal });
  }

  readonly #finishAll = (): void => {
    for (const { queue } of [...this.#all]) queue.finish();
  };

  readonly #tellGap = ({ detail }: CustomEvent<GapDetail>): void => {
    const topics = new Set(detail.topics);
    for (const { queue, topic } of [...this.#all]) if (topics.has(topic)) queue.pushGap(detail);
  };
}

/** Some of our targets need no event, the others one that our table can dispatch; to the rest goes the platform's own, which is cheaper to make. */
function dispatchAt(target: EventTarget, topic: string, envelope: EventEnvelope): void {
  if (!(target instanceof TableEventTarget)) target.dispatchEvent(new CustomEvent(topic, { detail: envelope }));
  else if (!(isDirect(target) && target[dispatchEnvelope](topic, envelope)))
    target.dispatchEvent(new TargetEvent(topic, envelope));
}

function isDirect(target: EventTarget): target is EventTarget & Direct {
  return dispatchEnvelope in target;
}

/** Whether a target has our life cycle. On others `close` and `gap` could be anything, a Redis channel even. */
function isNative(target: EventTarget | undefined): target is NativeTarget {
  const { ready, state } = (target ?? {}) as Partial<NativeTarget>;
  return typeof ready === 'function' && typeof state === 'string';
}

function isOver({ state }: NativeTarget): boolean {
  return state === 'closing' || state === 'closed';
}
