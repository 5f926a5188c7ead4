// A spoke over a WebSocket that the caller made and owns, in plain TypeScript: no addon, no Node built-ins, no reconnect.
// Does not open or close the socket: close() takes our listeners off it and takes back our subscriptions, nothing else.
// Invariants: a topic is subscribed on the wire exactly while it has a listener; subscriptions go out before queued events.

import { PubSubError } from './errors.js';
import { Heartbeat } from './heartbeat.js';
import type { ReadyOptions } from './life-cycle.js';
import { closedError, closeOnAbort, notSubscribed } from './life-cycle.js';
import { abortSignal, boolean, checkNames, oneOf, positiveInteger } from './options.js';
import { stringify } from './outbox.js';
import { checkEvent } from './topic.js';
import { TransportTarget } from './transport-target.js';
import type {
  AnyEvent,
  CloseDetail,
  EventEnvelope,
  GapDetail,
  NativeTarget,
  TargetStats,
  TypedEvent,
} from './types.js';
import { type Acknowledgement, Waiters } from './waiting.js';
import { controlText, envelopeText, HELLO, readEnvelope, refusalCode, subscribeText, unsubscribeText } from './wire.js';

/** The part of the standard `WebSocket` that is needed. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(data: string): void;
  // `object`: the DOM, `ws` and Bun each have event types of their own.
  addEventListener(type: WebSocketEventName, listener: (event: object) => void): void;
  removeEventListener(type: WebSocketEventName, listener: (event: object) => void): void;
}

export type WebSocketEventName = 'open' | 'message' | 'close' | 'error';

export interface WebSocketObjectOptions {
  /** Closes the target, not the socket, when it is aborted. */
  readonly signal?: AbortSignal;
  /** What to expect of the hub: "plain" sends no hello, "native" fails without an answer to it. Default "auto". */
  readonly peer?: 'auto' | 'native' | 'plain';
  /** Milliseconds after which a hub that has not said hello counts as plain. Default 2000. */
  readonly helloTimeoutMs?: number;
  /** Characters that may be queued while the socket is connecting. Default 1 048 576. */
  readonly maxBufferedAmount?: number;
  /** Bytes that may wait in the open socket. Default 64 MiB. */
  readonly maxPendingBytes?: number;
  /** Milliseconds between signs of life; a hub that is silent for two and a half of them is dead. Default 10 000. */
  readonly heartbeatMs?: number;
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean;
}

const optionNames: readonly string[] = [
  'signal',
  'peer',
  'helloTimeoutMs',
  'maxBufferedAmount',
  'maxPendingBytes',
  'heartbeatMs',
  'echo',
];

export function isWebSocket(value: unknown): value is WebSocketLike {
  const { send, addEventListener } = Object(value) as Partial<WebSocketLike>;
  return typeof send === 'function' && typeof addEventListener === 'function';
}

/** Makes a spoke over an open or connecting WebSocket. */
export function overWebSocket<TEvent extends TypedEvent = AnyEvent>(
  socket: WebSocketLike,
  options: WebSocketObjectOptions = {},
): NativeTarget<TEvent> {
  checkNames(options, optionNames);
  const signal = abortSignal('signal', options.signal);
  const target = new WebSocketObjectTarget(socket, {
    peer: oneOf('peer', options.peer, ['auto', 'native', 'plain']) ?? 'auto',
    helloTimeoutMs: positiveInteger('helloTimeoutMs', options.helloTimeoutMs) ?? 2000,
    maxBufferedAmount: positiveInteger('maxBufferedAmount', options.maxBufferedAmount) ?? 1_048_576,
    maxPendingBytes: positiveInteger('maxPendingBytes', options.maxPendingBytes) ?? 67_108_864,
    heartbeatMs: positiveInteger('heartbeatMs', options.heartbeatMs) ?? 10_000,
    echo: boolean('echo', options.echo) ?? false,
  });
  if (signal !== undefined) closeOnAbort(target, signal);
  return target;
}

/** `readyState` of an open socket. Source: the WebSocket standard. */
const CONNECTING = 0;
const OPEN = 1;

/** Close codes of a hub that ends in order: done, going away, and none given. */
const ORDERLY: readonly number[] = [1000, 1001, 1005];

/** What other close codes of a hub mean; the rest is a lost connection. Source: docs/errors.md, as for spokes with a URL. */
const LOSSES: ReadonlyMap<number, string> = new Map([
  [1002, 'ERR_PROTOCOL'],
  [1007, 'ERR_PROTOCOL'],
  [1009, 'ERR_MESSAGE_TOO_LARGE'],
  [1013, 'ERR_SLOW_CONSUMER'],
  [4401, 'ERR_NOT_IDENTIFIED'],
  [4403, 'ERR_FORBIDDEN'],
]);

/** How often a socket is asked whether it has sent: it has no event for that. A guess. */
const POLL_MS = 4;

/** Source: contract section 1, "at most one per link and second". */
const MALFORMED_QUIET_MS = 1000;

/** What comes back of a `__ping`. Source: docs/protocol.md. */
const MAX_PING_LENGTH = 32;

/** Bytes that may wait in the socket while pings are sent and answered. A guess. */
const MAX_ANSWERS = 65_536;

interface Subscription {
  readonly n: number;
  isAcknowledged: boolean;
  refusal: PubSubError | undefined;
}

class WebSocketObjectTarget extends TransportTarget {
  readonly #socket: WebSocketLike;
  readonly #options: Required<Omit<WebSocketObjectOptions, 'signal'>>;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #confirmations = new Waiters<Acknowledgement>();
  readonly #counters = { sent: 0, received: 0, dropped: 0, malformed: 0 };
  #queue: string[] = [];
  #queuedLength = 0;
  #lastN = 0;
  #lastToken = 0;
  #started = false;
  #isNative = false;
  #isAdmitted = false;
  #helloTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #heartbeat: Heartbeat;
  #failure: unknown;
  /** Bytes that had to wait in the socket, ever, and how many of them had left when that was looked at last. */
  #waited = 0;
  #left = 0;
  #malformedAt = Number.NEGATIVE_INFINITY;
  #malformedUntold = 0;

  constructor(socket: WebSocketLike, options: Required<Omit<WebSocketObjectOptions, 'signal'>>) {
    super();
    this.#socket = socket;
    this.#options = options;
    this.#heartbeat = new Heartbeat(options.heartbeatMs, {
      isTaking: () => this.#isTaking(),
      onSilence: () => this.#say(controlText('__ping', { t: Date.now() })),
      onDeath: () => this.#die(),
    });
    for (const [type, listener] of this.#handlers) socket.addEventListener(type, listener);
    // In a later microtask, so that listeners of this turn are subscribed right behind the hello.
    if (socket.readyState !== CONNECTING) queueMicrotask(() => this.#begin());
  }

  get bufferedAmount(): number {
    return this.state === 'closed' ? 0 : this.#queuedLength + this.#socket.bufferedAmount;
  }

  flush(): Promise<void> {
    return this.#until(() => this.bufferedAmount === 0);
  }

  drain(): Promise<void> {
    return this.#until(() => this.bufferedAmount < this.#options.maxPendingBytes / 2);
  }

  stats(): TargetStats {
    return { ...this.#counters, topics: this.#subscriptions.size };
  }

  protected override send(event: CustomEvent): void {
    const envelope: unknown = event.detail;
    checkEvent(event.type, envelope);
    const json = stringify(envelope.payload, event.type);
    if (!this.#post(envelopeText(envelope.type, envelope.id, json))) return;
    if (this.#options.echo) this.emitEnvelope(event.type, envelope.type, envelope.id, JSON.parse(json));
  }

  protected override listen(topic: string): void {
    const subscription = { n: ++this.#lastN, isAcknowledged: false, refusal: undefined };
    this.#subscriptions.set(topic, subscription);
    if (this.#hasBegun) this.#socket.send(subscribeText(topic, subscription.n));
  }

  protected override unlisten(topic: string): void {
    this.#subscriptions.delete(topic);
    this.#confirmations.rejectTopic(topic, () => notSubscribed(topic));
    if (this.#hasBegun) this.#socket.send(unsubscribeText(topic));
  }

  protected override async confirm(topic: string, { signal }: ReadyOptions): Promise<Acknowledgement> {
    await this.ready(undefined, signal === undefined ? {} : { signal });
    const subscription = this.#subscriptions.get(topic);
    if (subscription === undefined) throw notSubscribed(topic);
    if (subscription.refusal !== undefined) throw subscription.refusal;
    if (!this.#isNative || subscription.isAcknowledged) return { acknowledged: subscription.isAcknowledged };
    return this.#confirmations.share(topic, () => ++this.#lastToken, signal);
  }

  protected override shutDown({ code, reason }: { readonly code: number; readonly reason: string }): void {
    if (this.#hasBegun) for (const topic of this.#subscriptions.keys()) this.#socket.send(unsubscribeText(topic));
    queueMicrotask(() => this.ended({ code, reason }));
  }

  protected override ended(detail: CloseDetail): void {
    clearTimeout(this.#helloTimer);
    this.#heartbeat.stop();
    for (const [type, listener] of this.#handlers) this.#socket.removeEventListener(type, listener);
    this.#confirmations.rejectAll(detail.error ?? closedError(detail));
    this.#subscriptions.clear();
    this.#queue = [];
    super.ended(detail);
  }

  readonly #handlers: readonly (readonly [WebSocketEventName, (event: object) => void])[] = [
    ['open', (): void => this.#begin()],
    ['message', (event): void => this.#receive((event as { data: unknown }).data)],
    ['close', (event): void => this.#lose(event as { code: number; reason: string })],
    // Some implementations throw what no `error` listener hears; the reason is told with the close that follows.
    ['error', (event): void => this.#fail(event)],
  ];

  get #hasBegun(): boolean {
    return this.#started && this.#socket.readyState === OPEN;
  }

  #begin(): void {
    if (this.isOver || this.#started) return;
    if (this.#socket.readyState !== OPEN) return this.#lose({ code: 1006, reason: 'the socket was closed already' });
    this.#started = true;
    if (this.#options.peer === 'plain') this.#admit(false);
    else this.#sayHello();
    for (const [topic, { n }] of this.#subscriptions) this.#socket.send(subscribeText(topic, n));
    for (const text of this.#queue) this.#sendEvent(text);
    this.#queue = [];
    this.#queuedLength = 0;
  }

  #sayHello(): void {
    this.#socket.send(HELLO);
    this.#helloTimer = setTimeout(() => this.#missHello(), this.#options.helloTimeoutMs);
    (this.#helloTimer as { unref?(): void }).unref?.();
  }

  #missHello(): void {
    if (this.#options.peer === 'auto') return this.#admit(false);
    const error = new PubSubError(
      'ERR_NO_HELLO',
      'the hub did not answer our hello; use peer "auto" if it may be a plain one',
    );
    this.raise(error);
    this.ended({ code: 1002, reason: 'no hello', error });
  }

  #admit(native: boolean): void {
    clearTimeout(this.#helloTimer);
    this.#isNative ||= native;
    if (this.#isAdmitted) return native ? this.upgraded() : undefined;
    this.#isAdmitted = true;
    this.opened({ reconnected: false, native });
  }

  /** Sends or queues; false when there was no room. */
  #post(text: string): boolean {
    const { maxBufferedAmount, maxPendingBytes } = this.#options;
    const bound = this.#started ? maxPendingBytes : maxBufferedAmount;
    const waiting = this.bufferedAmount;
    // A single event may always be queued.
    if (waiting > 0 && waiting + text.length > bound) return this.#drop();
    this.#counters.sent++;
    if (this.#started) this.#sendEvent(text);
    else this.#enqueue(text);
    return true;
  }

  #enqueue(text: string): void {
    this.#queue.push(text);
    this.#queuedLength += text.length;
  }

  #drop(): false {
    this.#counters.dropped++;
    this.raise(
      new PubSubError(
        'ERR_BUFFER_FULL',
        'no room for an event, it was dropped; await drain() before dispatching more',
        { dropped: 1 },
      ),
    );
    return false;
  }

  #receive(data: unknown): void {
    if (this.isOver) return;
    this.#heartbeat.heard();
    const envelope = readEnvelope(data);
    if (envelope === undefined) return this.#malformed();
    if (envelope.type === '__hello') return this.#greet(envelope.payload);
    if (!this.#isAdmitted && this.#options.peer === 'auto') this.#admit(false);
    if (envelope.type.startsWith('__')) return this.#obey(envelope);
    this.#counters.received++;
    this.emit(`${envelope.type}:${envelope.id}`, envelope);
  }

  /** The hub is native, and alive as long as it answers pings. */
  #greet(payload: unknown): void {
    const { features } = Object(payload) as { features?: unknown };
    if (Array.isArray(features) && features.includes('ping')) this.#heartbeat.start();
    this.#admit(true);
  }

  /** Control events of the hub; those that are unknown are ignored. */
  #obey({ type, payload }: EventEnvelope): void {
    const fields = Object(payload) as Partial<Record<string, unknown>>;
    const { topic, n, t } = fields;
    switch (type) {
      case '__gap':
        return this.#missed(fields);
      case '__ping':
        return this.#answer(t);
      case '__subscribed':
        return this.#acknowledge(topic, n);
      case '__refused':
        return typeof topic === 'string' ? this.#refuse(topic, fields) : undefined;
    }
  }

  /** Short things come back; a hub that asks and does not read gets no more answers. */
  #answer(t: unknown): void {
    const isShort = typeof t === 'number' || (typeof t === 'string' && t.length <= MAX_PING_LENGTH);
    if (isShort) this.#say(controlText('__pong', { t }));
  }

  #say(text: string): void {
    if (this.#hasBegun && this.#socket.bufferedAmount <= MAX_ANSWERS) this.#socket.send(text);
  }

  /** Whether what waits in the socket goes on leaving it: a ping would wait behind that. */
  #isTaking(): boolean {
    const before = this.#left;
    this.#left = this.#waited - this.#socket.bufferedAmount;
    return this.#left > before;
  }

  #sendEvent(text: string): void {
    const before = this.#socket.bufferedAmount;
    this.#socket.send(text);
    this.#waited += Math.max(0, this.#socket.bufferedAmount - before);
  }

  #acknowledge(topic: unknown, n: unknown): void {
    if (typeof topic !== 'string') return;
    const subscription = this.#subscriptions.get(topic);
    if (subscription === undefined || (n !== undefined && n !== subscription.n)) return;
    subscription.isAcknowledged = true;
    subscription.refusal = undefined;
    this.#confirmations.resolveTopic(topic, { acknowledged: true });
  }

  #refuse(topic: string, { n, kind, code, reason, count }: Partial<Record<string, unknown>>): void {
    const what = kind === 'publish' ? 'publishing' : 'subscribing';
    const why = [code, reason].filter((part) => typeof part === 'string').join(': ');
    const message = `the hub refused ${what} to "${topic}": ${why}`;
    const more = typeof count === 'number' && count > 1 ? { dropped: count - 1 } : {};
    const error = new PubSubError(refusalCode(code), message, more);
    if (kind !== 'publish' && !this.#takeBack(topic, n, error)) return;
    this.raise(error);
  }

  /** The hub has dropped events; what nobody listens to is no gap. */
  #missed({ from, to, topics }: Partial<Record<string, unknown>>): void {
    if (typeof from !== 'number' || typeof to !== 'number' || !Array.isArray(topics)) return;
    const wanted = topics.filter((topic) => this.#subscriptions.has(topic));
    if (wanted.length === 0) return;
    const gap: GapDetail = { cause: 'upstream', direction: 'in', from, to, topics: wanted };
    this.emit('gap', gap);
  }

  /** A refusal without a number takes back what was active; whether it is about a topic of ours. */
  #takeBack(topic: string, n: unknown, error: PubSubError): boolean {
    const subscription = this.#subscriptions.get(topic);
    if (subscription === undefined || (n === undefined ? !subscription.isAcknowledged : n !== subscription.n))
      return false;
    subscription.refusal = error;
    this.#confirmations.rejectTopic(topic, () => error);
    return true;
  }

  #die(): void {
    const message = 'the hub is silent for two and a half heartbeats; the socket is yours, so it is not opened again';
    const error = new PubSubError('ERR_TIMED_OUT', message);
    this.raise(error);
    this.ended({ code: 1006, reason: 'no byte came for 2.5 heartbeats', error });
  }

  #malformed(): void {
    this.#counters.malformed++;
    this.#malformedUntold++;
    const now = Date.now();
    if (now - this.#malformedAt < MALFORMED_QUIET_MS) return;
    const dropped = this.#malformedUntold;
    this.#malformedAt = now;
    this.#malformedUntold = 0;
    this.raise(
      new PubSubError('ERR_MALFORMED', `${dropped} message(s) of the hub were no envelopes and were skipped`, {
        dropped,
      }),
    );
  }

  #lose({ code, reason }: { code: number; reason: string }): void {
    if (ORDERLY.includes(code)) return this.ended({ code, reason });
    const why = reason === '' ? '' : `: ${reason}`;
    const message = `the socket was lost with ${code}${why}; it is yours, so it is not opened again`;
    const error = new PubSubError(LOSSES.get(code) ?? 'ERR_CONNECTION_LOST', message, { cause: this.#failure });
    this.raise(error);
    this.ended({ code, reason, error });
  }

  #fail({ error, message }: { error?: unknown; message?: string }): void {
    this.#failure = error ?? message;
  }

  async #until(isReached: () => boolean): Promise<void> {
    while (this.state !== 'closed' && !isReached()) await pause(POLL_MS);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
