// The types that users meet: envelopes, events, targets, life cycle. Types only, nothing of it exists at run time.
// Does not know any transport.
// Invariant: a NativeTarget can be used wherever @graphql-yoga/typed-event-target's TypedEventTarget is asked for
// (__test__/types holds it).

import type { PubSubError } from './errors.js';

/** What is published: a type, the id of the thing it is about, and a payload that JSON can carry. */
export interface EventEnvelope<TType extends string = string, TPayload = unknown> {
  readonly type: TType;
  readonly id: string;
  readonly payload: TPayload;
}

/** A `CustomEvent` whose `type` is a topic and whose `detail` is, on our targets, an {@link EventEnvelope}. */
export type TypedEvent<TTopic extends string = string, TDetail = unknown> = Omit<
  CustomEvent<TDetail>,
  'detail' | 'type'
> & {
  readonly type: TTopic;
  readonly detail: TDetail;
};

/** Any event of this package: the default where no event map is given. */
export type AnyEvent = TypedEvent<string, EventEnvelope>;

/** The event of one type: its topic is `type:id`. */
export type EventOf<TType extends string, TPayload> = TypedEvent<`${TType}:${string}`, EventEnvelope<TType, TPayload>>;

/** The union of events that an event map stands for: `EventsOf<{ 'chat.msg': { n: number } }>`. */
export type EventsOf<TEventMap extends object> = {
  [TType in keyof TEventMap & string]: EventOf<TType, TEventMap[TType]>;
}[keyof TEventMap & string];

/** Those events of a union that can come under a topic. */
export type EventsAt<TEvent extends TypedEvent, TTopic extends string> = TEvent extends unknown
  ? TTopic extends TEvent['type']
    ? TEvent
    : never
  : never;

/** A function, or an object whose `handleEvent` is looked up when an event comes. */
export type TypedEventListener<TEvent> = ((event: TEvent) => void) | { handleEvent(event: TEvent): void };

/** An `EventTarget` that knows its events. */
export interface TypedEventTarget<TEvent extends TypedEvent> extends EventTarget {
  addEventListener<TTopic extends TEvent['type']>(
    topic: TTopic,
    callback: TypedEventListener<EventsAt<TEvent, TTopic>> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  /** As in @graphql-yoga/typed-event-target, where the event does not follow from the topic. */
  addEventListener<TSome extends TEvent>(
    topic: TSome['type'],
    callback: TypedEventListener<TSome> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<TTopic extends TEvent['type']>(
    topic: TTopic,
    callback: TypedEventListener<EventsAt<TEvent, TTopic>> | null,
    options?: EventListenerOptions | boolean,
  ): void;
  removeEventListener<TSome extends TEvent>(
    topic: TSome['type'],
    callback: TypedEventListener<TSome> | null,
    options?: EventListenerOptions | boolean,
  ): void;
  dispatchEvent(event: TEvent): boolean;
}

/** What a target is doing about its link. */
export type LinkState = 'connecting' | 'open' | 'reconnecting' | 'closing' | 'closed';

/** How a target ended. `error` is there when it did not end by an orderly close. */
export interface CloseDetail {
  /** The close code: 1000 is an orderly end; docs/protocol.md has the others. */
  readonly code: number;
  /** What the side that closed said, at most 123 bytes; often empty. */
  readonly reason: string;
  /** Why it ended, where it was not asked to. */
  readonly error?: PubSubError;
}

/** The link was admitted; `native` tells whether the peer acknowledges subscriptions. */
export interface OpenDetail {
  /** False the first time. */
  readonly reconnected: boolean;
  /** The peer acknowledges subscriptions and tells of gaps. */
  readonly native: boolean;
}

/** The link was lost, or an attempt to make it failed; the next attempt follows after `delayMs`. */
export interface ReconnectingDetail {
  /** Counts the attempts since the link was lost, from 1. */
  readonly attempt: number;
  /** Milliseconds until the next attempt. */
  readonly delayMs: number;
  /** Why the link was lost, or why the attempt failed. */
  readonly cause: PubSubError;
}

/** Events may have been missed. Times are milliseconds since the epoch. */
export interface GapDetail {
  /** `connection-lost`: the link broke. `slow-consumer`, `overflow`: a queue was full. `upstream`: the hub missed them. `sequence`: numbers are missing. */
  readonly cause: 'connection-lost' | 'slow-consumer' | 'overflow' | 'upstream' | 'sequence';
  /** `in`: events for this target. `out`: events of this target. `both`: either. */
  readonly direction: 'in' | 'out' | 'both';
  /** When the last byte came before the loss. */
  readonly from: number;
  /** When the last subscription was active again. */
  readonly to: number;
  /** Topics that were active before `from` and still have listeners. */
  readonly topics: readonly string[];
  /** How many events are known to be lost, where that is known. */
  readonly dropped?: number;
}

/** The life-cycle events of every target; their names have no colon, topics always have one. */
export interface LifeCycleEvents {
  open: OpenDetail;
  reconnecting: ReconnectingDetail;
  gap: GapDetail;
  error: PubSubError;
  close: CloseDetail;
}

/**
 * Counters by name, as far as a target keeps them. They only rise, except those that name what is there now.
 *
 * Of events: `published` here, `sent`, `received`, `delivered` to the application, `unrouted` (nobody wanted them), `unwanted` (nobody
 * listened when they came), `dropped` (there was no room, or the target ended), `refused` (permissions do not allow them). Of messages:
 * `malformed`, `ignoredControls`. Of transports: `sentBytes`, `writes`. Of links: `accepted`, `connects`, `slowConsumers` that were cut.
 * `gaps` that were told, `panics`: defects that were contained. There now: `connections`, `topics`, `members`, `waiting` events. Hubs with a
 * backplane have more (docs/backplane.md), members of swarms have others.
 */
export interface TargetStats {
  readonly [counter: string]: number;
}

/** How a target is closed. */
export interface CloseOptions {
  /** Close code told to the peer. Default 1000. */
  readonly code?: number;
  /** Reason told to the peer, at most 123 bytes. Default empty. */
  readonly reason?: string;
  /** How long to go on writing what was dispatched. Default 5000. */
  readonly timeoutMs?: number;
}

/** A target with a life cycle. `TLifeCycle` maps the names of its life-cycle events to their details. */
export interface NativeTarget<TEvent extends TypedEvent = AnyEvent, TLifeCycle extends object = LifeCycleEvents>
  extends TypedEventTarget<TEvent>,
    AsyncDisposable {
  addEventListener<TName extends keyof TLifeCycle & string>(
    name: TName,
    callback: TypedEventListener<CustomEvent<TLifeCycle[TName]>> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener<TTopic extends TEvent['type']>(
    topic: TTopic,
    callback: TypedEventListener<EventsAt<TEvent, TTopic>> | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  removeEventListener<TName extends keyof TLifeCycle & string>(
    name: TName,
    callback: TypedEventListener<CustomEvent<TLifeCycle[TName]>> | null,
    options?: EventListenerOptions | boolean,
  ): void;
  removeEventListener<TTopic extends TEvent['type']>(
    topic: TTopic,
    callback: TypedEventListener<EventsAt<TEvent, TTopic>> | null,
    options?: EventListenerOptions | boolean,
  ): void;

  readonly state: LinkState;
  /** Resolves once, when the target has ended; never rejects. */
  readonly closed: Promise<CloseDetail>;
  /** Bytes dispatched that no transport has taken yet. */
  readonly bufferedAmount: number;

  /**
   * Without a topic: the link is admitted (a hub: bound). With one: the subscription is active; `acknowledged` is false when the
   * peer cannot say so and it was only written. Pending while reconnecting.
   */
  ready(topic?: string, options?: { readonly signal?: AbortSignal }): Promise<{ readonly acknowledged: boolean }>;
  /** Everything dispatched so far was handed to a transport, or dropped. */
  flush(): Promise<void>;
  /** `bufferedAmount` is below half of its bound. */
  drain(): Promise<void>;
  /** Takes effect at once, writes what was dispatched, ends what the target opened itself. Never rejects; the same promise each time. */
  close(options?: CloseOptions): Promise<void>;
  /** The open target keeps the process alive again. */
  ref(): this;
  /** The open target no longer keeps the process alive. */
  unref(): this;
  /** Counters since the target was made. */
  stats(): TargetStats;
}
