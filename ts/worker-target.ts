// A symmetric target between two threads: envelopes as plain objects, each end tells the other what it listens to and sends only that.
// Does not own the thread: close() takes our listeners off it and nothing else. Runs in browsers.
// Invariants: the other end knows of a topic exactly while it has a listener here; what is posted and not yet credited stays below a
// window, what waits for it below a bound; an event that finds no room is counted, reported here and told of there, in its place.

import { PubSubError } from './errors.js';
import type { Closing, ReadyOptions } from './life-cycle.js';
import { closedError, notSubscribed } from './life-cycle.js';
import { stringify } from './outbox.js';
import { Stake } from './stake.js';
import { checkEvent } from './topic.js';
import { type Outgoing, TransportTarget } from './transport-target.js';
import type { CloseDetail, CloseOptions, GapDetail, TargetStats } from './types.js';
import { type Acknowledgement, Deferred, Waiters } from './waiting.js';
import { OwedCredit } from './worker-credit.js';
import { Drops } from './worker-drops.js';
import { type ControlPayload, control, isCount, isOurs, type Message } from './worker-message.js';
import type { ThreadEnd, ThreadPort } from './worker-port.js';

interface WorkerTargetOptions {
  readonly maxBufferedAmount: number;
  readonly maxPendingBytes: number;
  readonly echo: boolean;
}

/** Characters that are posted and not yet credited: what waits between two threads is in nobody's hands. A guess. */
const WINDOW: number = 1_048_576;

/** What an event costs besides its characters, as in the engine. */
const OVERHEAD: number = 64;

/** A program that ends never waits longer than this for a timer of ours. */
const FOREVER_MS: number = 2 ** 31 - 1;

interface Subscription {
  readonly n: number;
  isAcknowledged: boolean;
}

/** The target at the other end. */
interface Peer {
  readonly session: string;
  readonly topics: Set<string>;
  /** Subscriptions that were announced with its hello and have not come yet. */
  expected: number;
}

export class WorkerTarget extends TransportTarget {
  readonly #port: ThreadPort;
  readonly #options: WorkerTargetOptions;
  readonly #session: string = Math.random().toString(36).slice(2);
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #confirmations = new Waiters<Acknowledgement>();
  readonly #counters = {
    published: 0,
    sent: 0,
    received: 0,
    unrouted: 0,
    unwanted: 0,
    dropped: 0,
    malformed: 0,
    ignoredControls: 0,
  };
  readonly #drops = new Drops((error) => this.raise(error));
  readonly #owed = new OwedCredit((message) => this.state !== 'closed' && this.#post(message));
  readonly #stake: Stake;
  #timer: ReturnType<typeof setInterval> | undefined;
  #peer: Peer | undefined;
  #hasMet = false;
  #hasBegun = false;
  #queue: Message[] = [];
  #queuedCost = 0;
  #isWaiting = false;
  #postedCost = 0;
  #postedEvents = 0;
  #closing: { readonly detail: CloseDetail; readonly timer: ReturnType<typeof setTimeout> } | undefined;
  #waiters: { readonly isReached: () => boolean; readonly deferred: Deferred<void> }[] = [];
  #lastN = 0;
  #lastToken = 0;

  constructor(port: ThreadPort, options: WorkerTargetOptions) {
    super();
    this.#port = port;
    this.#options = options;
    this.#stake = new Stake(
      () => {
        if (this.state !== 'closed') this.#timer = setInterval(() => {}, FOREVER_MS);
      },
      () => clearInterval(this.#timer),
    );
    port.open({
      isOurs,
      message: (data) => this.#receive(data as Message),
      unreadable: () => this.#complain(),
      failed: (cause) => this.raise(new PubSubError('ERR_HANDLER_FAILED', uncaught(cause), { cause })),
      ended: (end) => this.#lose(end),
    });
    // Behind the turn that made the target: its listeners go out with the hello.
    queueMicrotask(() => this.#begin());
  }

  get bufferedAmount(): number {
    return this.state === 'closed' ? 0 : this.#queuedCost + this.#postedCost;
  }

  override ready(topic?: string, options?: ReadyOptions): Promise<Acknowledgement> {
    return this.#stake.during(super.ready(topic, options));
  }

  flush(): Promise<void> {
    return this.#until(() => this.bufferedAmount === 0);
  }

  drain(): Promise<void> {
    return this.#until(() => this.bufferedAmount < this.#options.maxBufferedAmount / 2);
  }

  override close(options?: CloseOptions): Promise<void> {
    const isFirst = !this.isOver;
    const closing = super.close(options);
    return isFirst ? this.#stake.during(closing) : closing;
  }

  override ref(): this {
    this.#stake.ref();
    return this;
  }

  override unref(): this {
    this.#stake.unref();
    return this;
  }

  stats(): TargetStats {
    return { ...this.#counters, topics: this.#subscriptions.size, waiting: this.#queue.length };
  }

  // ---- Out ----

  protected override send(event: Outgoing): void {
    const envelope = event.detail;
    checkEvent(event.type, envelope);
    const { type, id } = envelope;
    const json = stringify(envelope.payload, event.type);
    if (!this.#publish(event.type, type, id, json)) return;
    if (this.#options.echo) this.emitEnvelope(event.type, type, id, JSON.parse(json));
  }

  /** False when there was no room. */
  #publish(topic: string, type: string, id: string, json: string): boolean {
    this.#counters.published++;
    const isWanted = this.#peer === undefined ? !this.#hasMet : this.#isExpecting || this.#peer.topics.has(topic);
    if (!isWanted) {
      this.#counters.unrouted++;
      return true;
    }
    const cost = topic.length + json.length + OVERHEAD;
    const { maxBufferedAmount, maxPendingBytes } = this.#options;
    const bound = this.#hasMet ? maxPendingBytes : maxBufferedAmount;
    const waiting = this.#queuedCost + this.#postedCost;
    // A single event may always wait.
    if (waiting > 0 && waiting + cost > bound) {
      this.#counters.dropped++;
      this.#drops.add(topic);
      return false;
    }
    const gap = this.#takeGap();
    if (gap !== undefined) this.#queue.push(gap);
    this.#queue.push({ type, id, payload: JSON.parse(json), _cost: cost });
    this.#queuedCost += cost;
    this.#pump();
    return true;
  }

  /** The peer has said hello, and what it listens to is still coming. */
  get #isExpecting(): boolean {
    return this.#peer !== undefined && this.#peer.expected > 0;
  }

  /** Posts what the window has room for. */
  #pump(): void {
    let count = 0;
    if (this.#peer !== undefined && !this.#isExpecting)
      while (count < this.#queue.length && this.#postNext(this.#queue[count] as Message)) count++;
    if (count > 0) this.#queue.splice(0, count);
    const gap = this.#queue.length === 0 ? this.#takeGap() : undefined;
    if (gap !== undefined) this.#post(gap);
    this.#settle();
  }

  /** False when the window is full. One event alone may always be posted. */
  #postNext(message: Message): boolean {
    const { _cost: cost = 0 } = message;
    if (this.#postedCost > 0 && this.#postedCost + cost > WINDOW) return false;
    this.#queuedCost -= cost;
    const credit = this.#owed.take();
    if (credit !== undefined) message._credit = credit;
    const isPosted = this.#post(message);
    if (isPosted && cost > 0) {
      this.#postedCost += cost;
      this.#postedEvents++;
      this.#counters.sent++;
    }
    // What was to go with it goes by itself.
    if (!isPosted && credit !== undefined) this.#post(control('__credit', credit));
    return true;
  }

  #post(message: Message): boolean {
    try {
      this.#port.post(message);
      return true;
    } catch (cause) {
      this.#counters.dropped++;
      const why = cause instanceof Error ? cause.message : String(cause);
      this.raise(
        new PubSubError('ERR_NOT_SERIALIZABLE', `"${message.type}:${message.id}" could not be posted: ${why}`, {
          cause,
          dropped: 1,
        }),
      );
      return false;
    }
  }

  /** Those who listen are told where events are missing, as soon as there is somebody. */
  #takeGap(): Message | undefined {
    return this.#peer === undefined ? undefined : this.#drops.takeGap();
  }

  /** The queue became empty, or no longer is; whoever waits for that goes on. */
  #settle(): void {
    const isWaiting = this.#queue.length > 0;
    if (isWaiting !== this.#isWaiting) {
      this.#isWaiting = isWaiting;
      if (isWaiting) this.#stake.add();
      else this.#stake.remove();
    }
    if (this.#waiters.length > 0) this.#goOn();
    if (this.#closing !== undefined && !isWaiting) this.#finish();
  }

  #goOn(): void {
    this.#waiters = this.#waiters.filter(({ isReached, deferred }) => {
      const reached = isReached();
      if (reached) deferred.resolve();
      return !reached;
    });
  }

  #until(isReached: () => boolean): Promise<void> {
    const deferred = new Deferred<void>();
    if (this.state === 'closed' || isReached()) deferred.resolve();
    else this.#waiters.push({ isReached, deferred });
    return this.#stake.during(deferred.promise);
  }

  // ---- Topics ----

  protected override listen(topic: string): void {
    const subscription = { n: ++this.#lastN, isAcknowledged: false };
    this.#subscriptions.set(topic, subscription);
    this.#stake.add();
    if (this.#hasBegun) this.#post(control('__subscribe', { topic, n: subscription.n }));
  }

  protected override unlisten(topic: string): void {
    this.#subscriptions.delete(topic);
    this.#stake.remove();
    this.#confirmations.rejectTopic(topic, () => notSubscribed(topic));
    if (this.#hasBegun) this.#post(control('__unsubscribe', { topic }));
  }

  protected override async confirm(topic: string, { signal }: ReadyOptions): Promise<Acknowledgement> {
    if (this.#subscriptions.get(topic)?.isAcknowledged === true) return { acknowledged: true };
    return this.#confirmations.share(topic, () => ++this.#lastToken, signal);
  }

  // ---- The other end ----

  #begin(): void {
    // A target that is being closed still says hello for what waits.
    if (this.state === 'closed' || (this.isOver && this.#queue.length === 0)) return;
    this.#hasBegun = true;
    this.#greet();
  }

  #greet(): void {
    const { size } = this.#subscriptions;
    const hello = { version: 1, role: 'peer', features: ['credit'], session: this.#session, topics: size };
    this.#post(control('__hello', hello));
    for (const [topic, { n }] of this.#subscriptions) this.#post(control('__subscribe', { topic, n }));
  }

  #receive({ type, id, payload = null, _cost, _credit }: Message): void {
    if (this.state === 'closed') return;
    if (type.startsWith('__')) return this.#obey(type, Object(payload));
    this.#counters.received++;
    if (_credit !== undefined) this.#obey('__credit', Object(_credit));
    // From an end that has said nothing yet: a plain one, or, with a cost, what was on its way to a target that was closed before this one.
    const isStale = this.#peer === undefined && _cost !== undefined;
    if (!isStale && isCount(_cost)) this.#owed.add(_cost);
    const isHeard = !isStale && !this.isOver && this.emitEnvelope(`${type}:${id}`, type, id, payload);
    if (!isHeard) this.#counters.unwanted++;
  }

  #obey(type: string, payload: ControlPayload): void {
    if (!this.#isObeyed(type, payload)) this.#counters.ignoredControls++;
  }

  /** False for control events that are unknown, ill-formed or out of place. */
  #isObeyed(type: string, payload: ControlPayload): boolean {
    if (type === '__hello') return this.#meet(payload);
    if (this.#peer === undefined) return false;
    switch (type) {
      case '__subscribe':
        return this.#serve(this.#peer, payload);
      case '__unsubscribe':
        return this.#peer.topics.delete(String(payload.topic));
      case '__subscribed':
        return this.#acknowledge(payload);
      case '__credit':
        return this.#takeCredit(payload);
      case '__gap':
        return this.#hearGap(payload);
      case '__bye':
        return this.#part();
    }
    return false;
  }

  /** A hello of a session that is known is the answer to ours, which crossed with its own. */
  #meet({ session, topics }: ControlPayload): boolean {
    if (typeof session !== 'string' || session.length > 64 || !isCount(topics)) return false;
    if (this.#peer?.session === session) return false;
    if (this.#peer !== undefined) this.#part();
    for (const subscription of this.#subscriptions.values()) subscription.isAcknowledged = false;
    this.#peer = { session, topics: new Set(), expected: topics };
    // Whoever was there first said hello to nobody. Before `begin`, ours is yet to come.
    if (this.#hasBegun) this.#greet();
    if (topics === 0) this.#admit();
    return true;
  }

  #serve(peer: Peer, { topic, n }: ControlPayload): boolean {
    if (typeof topic !== 'string' || topic === '') return false;
    peer.topics.add(topic);
    this.#post(control('__subscribed', { topic, n }));
    if (peer.expected > 0 && --peer.expected === 0) this.#admit();
    return true;
  }

  /** All that the peer listens to is known: what waited for it goes out, as far as it is wanted. */
  #admit(): void {
    const { topics } = this.#peer as Peer;
    const isReconnected = this.#hasMet;
    this.#hasMet = true;
    const waited = this.#queue;
    this.#queue = waited.filter(({ type, id }) => topics.has(`${type}:${id}`));
    this.#counters.unrouted += waited.length - this.#queue.length;
    this.#queuedCost = this.#queue.reduce((sum, { _cost = 0 }) => sum + _cost, 0);
    this.opened({ reconnected: isReconnected, native: true });
    this.#pump();
  }

  #acknowledge({ topic, n }: ControlPayload): boolean {
    const subscription = this.#subscriptions.get(String(topic));
    if (subscription === undefined || subscription.n !== n) return false;
    subscription.isAcknowledged = true;
    this.#confirmations.resolveTopic(String(topic), { acknowledged: true });
    return true;
  }

  /** The other target closed, its thread goes on: what it listened to is gone, what it did not credit never will be. */
  #part(): boolean {
    this.#peer = undefined;
    this.#counters.unrouted += this.#queue.length;
    this.#queue = [];
    this.#queuedCost = 0;
    this.#postedCost = 0;
    this.#postedEvents = 0;
    this.#drops.forget();
    this.#settle();
    return true;
  }

  #hearGap({ from, to, topics, dropped }: ControlPayload): boolean {
    if (!Array.isArray(topics)) return false;
    const known = topics.filter((topic) => this.#subscriptions.has(topic));
    if (known.length === 0) return true;
    const detail: GapDetail = {
      cause: 'upstream',
      direction: 'in',
      from: Number(from),
      to: Number(to),
      topics: known,
      ...(isCount(dropped) ? { dropped } : {}),
    };
    if (!this.isOver) this.emit('gap', detail);
    return true;
  }

  // ---- Credit ----

  #takeCredit({ bytes, events }: ControlPayload): boolean {
    if (!isCount(bytes) || !isCount(events) || bytes > this.#postedCost || events > this.#postedEvents) return false;
    this.#postedCost -= bytes;
    this.#postedEvents -= events;
    this.#pump();
    return true;
  }

  // ---- The end ----

  protected override shutDown({ code, reason, timeoutMs }: Closing): void {
    const detail = { code, reason };
    const timer = setTimeout(() => this.#finish(), this.#queue.length > 0 ? timeoutMs : 0);
    this.#closing = { detail, timer };
  }

  #finish(): void {
    if (this.state === 'closed') return;
    const { detail, timer } = this.#closing ?? { detail: { code: 1000, reason: '' }, timer: undefined };
    clearTimeout(timer);
    const dropped = this.#queue.length;
    this.#counters.dropped += dropped;
    if (dropped > 0)
      this.raise(new PubSubError('ERR_CLOSED', `close() came before ${dropped} event(s) could be posted`, { dropped }));
    this.#owed.send();
    if (this.#hasBegun) this.#post(control('__bye', {}));
    this.ended(detail);
  }

  /** The thread at the other end is gone. */
  #lose(end: ThreadEnd): void {
    if (this.state === 'closed') return;
    const { code, reason } = end;
    const dropped = this.#queue.length + this.#postedEvents;
    this.#counters.dropped += this.#queue.length;
    if (!('cause' in end) && dropped === 0) return this.ended({ code, reason });
    const lost = dropped > 0 ? `; ${dropped} event(s) were not acknowledged` : '';
    const options = { ...(dropped > 0 ? { dropped } : {}), ...(end.cause === undefined ? {} : { cause: end.cause }) };
    const error = new PubSubError(
      'ERR_CONNECTION_LOST',
      `${reason}${lost}; make a new worker and a new target`,
      options,
    );
    // That a worker was ended is its owner's doing and no news; what was lost with it is.
    if (dropped > 0 || end.cause !== undefined) this.raise(error);
    this.ended({ code, reason, error });
  }

  protected override ended(detail: CloseDetail): void {
    clearTimeout(this.#closing?.timer);
    this.#owed.take();
    clearInterval(this.#timer);
    this.#port.close();
    this.#drops.report();
    this.#confirmations.rejectAll(detail.error ?? closedError(detail));
    this.#subscriptions.clear();
    this.#queue = [];
    super.ended(detail);
    for (const { deferred } of this.#waiters) deferred.resolve();
    this.#waiters = [];
  }

  #complain(): void {
    this.#counters.malformed++;
    const message = 'a message of the other thread could not be read and was skipped';
    this.raise(new PubSubError('ERR_MALFORMED', message, { dropped: 1 }));
  }
}

function uncaught(cause: unknown): string {
  return `the worker threw what nobody caught: ${cause instanceof Error ? cause.message : String(cause)}; it may go on`;
}
