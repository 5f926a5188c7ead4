// A spoke in plain TypeScript: one link after the other over WebSocket objects. The engine's is engine/src/spoke/actor.rs.
// Does not open sockets (dialer.ts) and does not know what a hub says on them (session.ts). No addon, no Node built-ins.
// Invariants: what was published leaves in order, also across links; each loss of an admitted link opens one gap, however many attempts it
// takes to end it; a socket of the caller's is never closed and never replaced.

import { type ErrorCode, PubSubError } from '../errors.js';
import { type Closing, closedError, type ReadyOptions } from '../life-cycle.js';
import { stringify, tooLarge } from '../outbox.js';
import { checkEvent } from '../topic.js';
import { type Outgoing, TransportTarget } from '../transport-target.js';
import type { CloseDetail, EventEnvelope, GapDetail, TargetStats } from '../types.js';
import type { Acknowledgement } from '../waiting.js';
import { envelopeText, isLonger } from '../wire.js';
import { Backlog } from './backlog.js';
import type { Dialer } from './dialer.js';
import { OpenGap } from './gap.js';
import type { SessionEnd, SessionHost, SessionOptions } from './link.js';
import { Meter } from './meter.js';
import { Session } from './session.js';
import { Subscriptions } from './subscriptions.js';
import { later, type Timer } from './timer.js';
import { delayMs, isProtocolError, MAX_PROTOCOL_ERRORS, retryAfterMs, STABLE_MS } from './verdict.js';

export interface PlainSpokeOptions extends SessionOptions {
  readonly maxBufferedAmount: number;
  readonly maxPendingBytes: number;
  readonly queueMaxAgeMs: number;
  readonly echo: boolean;
  /** False: the first loss is the end. */
  readonly reconnect: boolean;
  /** False: a failing first attempt is the end. */
  readonly reconnectInitial: boolean;
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
}

/** How often a socket is asked whether it has sent: it has no event for that. A guess. */
const POLL_MS = 4;

/** Close codes of a socket of the caller's that end in order: done, going away, and none given. */
const ORDERLY: readonly number[] = [1000, 1001, 1005];

const NO_ROOM =
  'events dropped: too much waits to be sent; await drain() when bufferedAmount grows, or raise maxBufferedAmount (no link) or ' +
  'maxPendingBytes (link)';

export class PlainSpoke extends TransportTarget {
  readonly #options: PlainSpokeOptions;
  readonly #dialer: Dialer;
  readonly #subscriptions = new Subscriptions();
  readonly #counters = {
    ...{ published: 0, sent: 0, received: 0, delivered: 0, unwanted: 0, dropped: 0 },
    ...{ refused: 0, malformed: 0, ignoredControls: 0, gaps: 0, connects: 0 },
  };
  readonly #backlog: Backlog;
  readonly #meter = new Meter((error) => this.raise(error));
  #session: Session | undefined;
  #gap: OpenGap | undefined;
  #closing: Closing | undefined;
  #deadline: Timer | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #isFlowing = false;
  #wasOpen = false;
  #attempt = 0;
  #protocolErrors = 0;
  #wasUnidentified = false;

  constructor(dialer: Dialer, options: PlainSpokeOptions) {
    super();
    this.#dialer = dialer;
    this.#options = options;
    const tooOld = `events dropped: they waited longer than queueMaxAgeMs (${options.queueMaxAgeMs}) for a link`;
    this.#backlog = new Backlog(options.queueMaxAgeMs, (count) => this.#drop(count, 'ERR_BUFFER_FULL', tooOld));
    // A socket that is there is heard at once; a new one is made behind the listeners of this turn.
    if (dialer.owned !== undefined) this.#session = new Session(dialer.owned, options, this.#host);
    else queueMicrotask(() => this.#connect());
  }

  get bufferedAmount(): number {
    return this.state === 'closed' ? 0 : this.#backlog.length + (this.#session?.bufferedAmount ?? 0);
  }

  flush(): Promise<void> {
    return this.#until(() => this.bufferedAmount === 0);
  }

  drain(): Promise<void> {
    return this.#until(() => this.bufferedAmount < this.#bound / 2);
  }

  stats(): TargetStats {
    return { ...this.#counters, topics: this.#subscriptions.size };
  }

  protected override send(event: Outgoing): void {
    const envelope = event.detail;
    checkEvent(event.type, envelope);
    const json = stringify(envelope.payload, event.type);
    const text = envelopeText(envelope.type, envelope.id, json);
    const { maxMessageBytes, maxTopicBytes, echo } = this.#options;
    if (isLonger(text, maxMessageBytes) || isLonger(event.type, maxTopicBytes)) throw tooLarge(event.type, json);
    if (this.#post(text) && echo) this.emitEnvelope(event.type, envelope.type, envelope.id, JSON.parse(json));
  }

  protected override listen(topic: string): void {
    this.#subscriptions.listen(topic);
    this.#session?.subscribe(topic);
  }

  protected override unlisten(topic: string): void {
    if (this.#subscriptions.unlisten(topic)) this.#session?.unsubscribe(topic);
    this.#gap?.dropTopic(topic);
    this.#endGap();
  }

  protected override confirm(topic: string, { signal }: ReadyOptions): Promise<Acknowledgement> {
    return this.#subscriptions.confirm(topic, signal);
  }

  protected override shutDown(closing: Closing): void {
    this.#closing = closing;
    if (this.#dialer.owned !== undefined) {
      for (const topic of this.#subscriptions.topics) this.#session?.unsubscribe(topic);
      return queueMicrotask(() => this.#finish());
    }
    this.#deadline = later(closing.timeoutMs, () => this.#finish());
    this.#sayGoodbye();
  }

  protected override ended(detail: CloseDetail): void {
    clearTimeout(this.#deadline);
    this.#stopWaiting();
    this.#leave();
    this.#subscriptions.end(detail.error ?? closedError(detail));
    super.ended(detail);
  }

  // ---- Out --------------------------------------------------------------------------------------------------------------------------

  get #bound(): number {
    return this.#isFlowing ? this.#options.maxPendingBytes : this.#options.maxBufferedAmount;
  }

  /** Sends or queues; false when there was no room. */
  #post(text: string): boolean {
    const waiting = this.bufferedAmount;
    // A single event may always be queued.
    if (waiting > 0 && waiting + text.length > this.#bound) {
      this.#drop(1, 'ERR_BUFFER_FULL', NO_ROOM);
      return false;
    }
    this.#counters.published++;
    if (this.#isFlowing) this.#session?.send(text);
    else this.#backlog.push(text);
    return true;
  }

  #drop(count: number, code: ErrorCode, message: string): void {
    this.#counters.dropped += count;
    this.#meter.raise(code, message, count);
  }

  /** What waited for a link goes out, and what comes now behind it. */
  #flow(): void {
    for (const text of this.#backlog.take()) this.#session?.send(text);
    this.#isFlowing = true;
  }

  /** Once everything before `close()` was handed to the socket, the link is ended in order. */
  #sayGoodbye(): void {
    if (this.#closing === undefined || this.#backlog.size > 0) return;
    if (this.#session?.hasBegun) return this.#session.close(this.#closing.code, this.#closing.reason);
    queueMicrotask(() => this.#finish());
  }

  async #until(isReached: () => boolean): Promise<void> {
    while (this.state !== 'closed' && !isReached()) await pause(POLL_MS);
  }

  // ---- In ---------------------------------------------------------------------------------------------------------------------------

  get #host(): SessionHost {
    return {
      subscriptions: this.#subscriptions,
      counters: this.#counters,
      begun: () => this.#begun(),
      admitted: (native) => this.#admitted(native),
      upgraded: () => this.upgraded(),
      heard: (topic, envelope, length) => this.#heard(topic, envelope, length),
      settled: (topic) => this.#settled(topic),
      missed: (gap) => this.#tellGap(gap),
      raise: (code, message, times) => this.#meter.raise(code, message, times),
      ended: (end) => this.#lose(end),
    };
  }

  /** Without another link to wait for, events need not wait until the hub has let this one in. */
  #begun(): void {
    this.#counters.connects++;
    if (this.#dialer.owned !== undefined) this.#flow();
  }

  #admitted(native: boolean): void {
    if (!this.#isFlowing) this.#flow();
    const reconnected = this.#wasOpen;
    this.#wasOpen = true;
    this.opened({ reconnected, native });
    this.#endGap();
    this.#sayGoodbye();
  }

  #heard(topic: string, envelope: EventEnvelope, length: number): void {
    if (!this.#subscriptions.has(topic)) return void this.#counters.unwanted++;
    if (this.#gap === undefined) return this.#deliver(topic, envelope);
    this.#gap.detain(envelope, length);
    this.#endGap();
  }

  #deliver(topic: string, envelope: EventEnvelope): void {
    if (this.isOver) return;
    this.#counters.delivered++;
    this.emit(topic, envelope);
  }

  #settled(topic: string): void {
    this.#gap?.settle(topic);
    this.#endGap();
  }

  #endGap(): void {
    const gap = this.#gap;
    if (gap === undefined || !gap.isOver || this.#session?.isAdmitted !== true || !this.#session.hasHeard) return;
    this.#gap = undefined;
    const detail = gap.detail(Date.now());
    this.#counters.dropped += detail.dropped ?? 0;
    this.#tellGap(detail);
    for (const envelope of gap.detained) {
      const topic = `${envelope.type}:${envelope.id}`;
      if (this.#subscriptions.has(topic)) this.#deliver(topic, envelope);
    }
  }

  #tellGap(detail: GapDetail): void {
    if (this.isOver) return;
    this.#counters.gaps++;
    this.emit('gap', detail);
  }

  // ---- From link to link ------------------------------------------------------------------------------------------------------------

  async #connect(): Promise<void> {
    if (this.#isEnded) return;
    let url: string | undefined;
    try {
      url = await this.#dialer.locate?.();
      if (this.#isEnded) return;
      const socket = this.#dialer.dial?.(url ?? '');
      if (socket !== undefined) this.#session = new Session(socket, this.#options, this.#host);
    } catch (cause) {
      if (this.#isEnded) return;
      const message = `no connection could be made: ${cause instanceof Error ? cause.message : String(cause)}`;
      // Where to go is asked anew; a socket that the platform does not make now it will not make later.
      const isEnd = url !== undefined || !this.#mayRetryFirst;
      this.#retryUnless(isEnd, 1006, message, new PubSubError('ERR_CONNECT', message, { cause }));
    }
  }

  /** Nothing needs a link any more. */
  get #isEnded(): boolean {
    return this.state === 'closed' || (this.isOver && this.#backlog.size === 0);
  }

  get #mayRetryFirst(): boolean {
    return this.#wasOpen || this.#options.reconnectInitial;
  }

  #lose(end: SessionEnd): void {
    this.#leave(end.code, end.reason);
    if (end.wasAdmitted) this.#openGap(end);
    this.#subscriptions.reset();
    if (end.wasOpen && end.lastedMs > STABLE_MS) this.#attempt = this.#protocolErrors = 0;
    // Events that still wait for a link get another attempt; one that had a link has had its chance.
    if (this.isOver && (end.wasOpen || this.#backlog.size === 0)) return this.#finish();
    const { code, reason } = end;
    this.#protocolErrors = isProtocolError(code) ? this.#protocolErrors + 1 : 0;
    const wasUnidentified = this.#wasUnidentified;
    this.#wasUnidentified = code === 4401;
    if (code === 1000 || (this.#dialer.owned !== undefined && ORDERLY.includes(code)))
      return this.#finish({ code, reason });
    const remedy = this.#dialer.owned === undefined ? '' : '; the socket is yours, so it is not opened again';
    const error = new PubSubError(
      end.errorCode,
      end.message + remedy,
      end.cause === undefined ? {} : { cause: end.cause },
    );
    const isEnd =
      code === 4403 ||
      (code === 4401 && wasUnidentified) ||
      end.errorCode === 'ERR_NO_HELLO' ||
      this.#protocolErrors >= MAX_PROTOCOL_ERRORS ||
      (!end.wasOpen && !this.#mayRetryFirst);
    this.#retryUnless(isEnd, code, reason, error);
  }

  /** Nothing of a link that is lost is heard any more; one that we made is closed. */
  #leave(code = 1000, reason = ''): void {
    const session = this.#session;
    this.#session = undefined;
    this.#isFlowing = false;
    session?.leave();
    if (this.#dialer.owned === undefined) session?.close(code, reason);
  }

  #openGap({ code, heardUntil, isUnproven }: SessionEnd): void {
    const active = this.#subscriptions.active;
    if (this.#gap !== undefined) return this.#gap.prolong(active, isUnproven);
    if (active.length === 0 && !isUnproven) return;
    const cause = code === 1013 ? 'slow-consumer' : 'connection-lost';
    this.#gap = new OpenGap(cause, heardUntil, active, isUnproven);
  }

  #retryUnless(isEnd: boolean, code: number, reason: string, error: PubSubError): void {
    const { reconnect, minDelayMs, maxDelayMs } = this.#options;
    if (isEnd || !reconnect) return this.#finish({ code, reason, error });
    const jitter = delayMs(minDelayMs, maxDelayMs, ++this.#attempt, Math.random());
    const delay = retryAfterMs(reason) + jitter;
    this.#wait(delay);
    this.lost({ attempt: this.#attempt, delayMs: delay, cause: error });
  }

  /** Until the delay is over, or the browser says that the network is back. */
  #wait(ms: number): void {
    this.#retry = setTimeout(this.#stopAndConnect, ms);
    events.addEventListener?.('online', this.#stopAndConnect);
  }

  #stopWaiting(): void {
    clearTimeout(this.#retry);
    events.removeEventListener?.('online', this.#stopAndConnect);
  }

  readonly #stopAndConnect = (): void => {
    this.#stopWaiting();
    void this.#connect();
  };

  #finish(detail: CloseDetail = this.#closing ?? { code: 1000, reason: '' }): void {
    if (this.state === 'closed') return;
    const left = this.#backlog.size;
    this.#backlog.clear();
    const lost = 'events dropped: the target was closed before they could be sent';
    if (left > 0) this.#drop(left, 'ERR_CLOSED', lost);
    this.#meter.rest();
    const { code, reason, error } = detail;
    if (error !== undefined) this.raise(error);
    this.ended(error === undefined ? { code, reason } : { code, reason, error });
  }
}

/** Where the browser tells of the network; elsewhere nobody does. */
const events: Partial<Pick<EventTarget, 'addEventListener' | 'removeEventListener'>> = globalThis as object;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
