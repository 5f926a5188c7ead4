// The life cycle that all targets share: state, ready, closed, close, and the events that tell of it.
// Does not know how a link is made, and does not decide when it is lost: subclasses tell by `opened`, `lost` and `ended`.
// Invariants: `close` is raised once and is the last event; every promise handed out settles at the latest then; after close()
// was called nothing is dispatched and nobody is told of events, only of the life cycle.

import { onAbort } from './abort.js';
import { PubSubError } from './errors.js';
import { TableEventTarget } from './event-target.js';
import { checkNames, nonNegativeInteger, wrong } from './options.js';
import { isLifeCycleName } from './topic.js';
import type { CloseDetail, CloseOptions, LinkState, OpenDetail, ReconnectingDetail, TargetStats } from './types.js';
import { type Acknowledgement, Deferred } from './waiting.js';
import { warnUnheard } from './warn.js';

export interface ReadyOptions {
  readonly signal?: AbortSignal;
}

/** What close() asks of a transport, with the defaults filled in. */
export type Closing = Required<CloseOptions>;

let raiseAtOwn: (target: LifeCycleTarget, error: PubSubError) => void;

/** Raises `error` on a target of ours; on others the name could mean anything, and the process is warned instead. */
export function raiseAt(target: EventTarget | undefined, error: PubSubError): void {
  if (target instanceof LifeCycleTarget) raiseAtOwn(target, error);
  else warnUnheard(error);
}

export abstract class LifeCycleTarget extends TableEventTarget implements AsyncDisposable {
  #state: LinkState = 'connecting';
  #isNative = false;
  readonly #closed = new Deferred<CloseDetail>();
  #closing: Promise<void> | undefined;
  #opening: Deferred<Acknowledgement> | undefined;

  get state(): LinkState {
    return this.#state;
  }

  get closed(): Promise<CloseDetail> {
    return this.#closed.promise;
  }

  abstract get bufferedAmount(): number;
  abstract flush(): Promise<void>;
  abstract drain(): Promise<void>;
  abstract stats(): TargetStats;

  /** Ends the link; `ended` is to be called when that is done. */
  protected abstract shutDown(closing: Closing): void;

  /** Settles when the subscription of a topic with listeners is active. */
  protected abstract confirm(topic: string, options: ReadyOptions): Promise<Acknowledgement>;

  ready(topic?: string, options: ReadyOptions = {}): Promise<Acknowledgement> {
    const promise = this.#ready(topic, options);
    promise.catch(ignore);
    return promise;
  }

  async #ready(topic: string | undefined, options: ReadyOptions): Promise<Acknowledgement> {
    options.signal?.throwIfAborted();
    if (this.isOver) throw closedError(this.#closed.value);
    if (topic !== undefined) {
      if (!this.hasListeners(topic)) throw notSubscribed(topic);
      return this.confirm(topic, options);
    }
    if (this.#state === 'open') return { acknowledged: this.#isNative };
    this.#opening ??= new Deferred();
    return this.#opening.race(options.signal);
  }

  close(options: CloseOptions = {}): Promise<void> {
    const closing = readClosing(options);
    this.#closing ??= this.#closed.promise.then(ignore);
    if (!this.isOver) {
      this.#state = 'closing';
      this.shutDown(closing);
    }
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  override addEventListener(
    name: string,
    callback: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void {
    // While closing, the life cycle can still be listened to: `close` has not come yet.
    if (this.isOver && (this.#state === 'closed' || !isLifeCycleName(name))) return;
    super.addEventListener(name, callback, options);
  }

  override dispatchEvent(event: Event): boolean {
    return this.isOver || super.dispatchEvent(event);
  }

  /** close() was called, or the target ended by itself. */
  protected get isOver(): boolean {
    return this.#state === 'closing' || this.#state === 'closed';
  }

  protected opened(detail: OpenDetail): void {
    this.#isNative = detail.native;
    if (this.isOver) return;
    this.#state = 'open';
    this.#opening?.resolve({ acknowledged: detail.native });
    this.#opening = undefined;
    this.emit('open', detail);
  }

  protected lost(detail: ReconnectingDetail): void {
    if (this.isOver) return;
    this.#state = 'reconnecting';
    this.emit('reconnecting', detail);
  }

  /** The peer said hello later than we waited for it. */
  protected upgraded(): void {
    this.#isNative = true;
  }

  protected ended(detail: CloseDetail): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#opening?.reject(detail.error ?? closedError(detail));
    this.#opening = undefined;
    this.emit('close', detail);
    this.clearListeners();
    this.#closed.resolve(detail);
  }

  /** Raises an `error` event, or a warning of the process when nobody listens. */
  protected raise(error: PubSubError): void {
    if (!this.emit('error', error)) warnUnheard(error);
  }

  static {
    raiseAtOwn = (target, error) => target.raise(error);
  }
}

/** Closes the target when `signal` is aborted, or at once when it is already. */
export function closeOnAbort(target: LifeCycleTarget, signal: AbortSignal): void {
  const close = (): void => void target.close();
  if (signal.aborted) close();
  else void target.closed.then(onAbort(signal, close));
}

const DEFAULT_TIMEOUT_MS = 5000;
/** Longest wait for a close, in milliseconds: what fits a timer. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** The options with their defaults; throws before anything is closed. */
function readClosing(options: CloseOptions): Closing {
  checkNames(options, ['code', 'reason', 'timeoutMs']);
  const { code = 1000, reason = '', timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  checkClose(code, reason);
  nonNegativeInteger('timeoutMs', timeoutMs, MAX_TIMEOUT_MS);
  return { code, reason, timeoutMs };
}

/** Throws unless a close frame can carry this. */
export function checkClose(code: number, reason: string): void {
  if (!isSendable(code)) throw wrong('code', '1000 to 1003, 1007 to 1014 or 3000 to 4999', code);
  if (typeof reason !== 'string') throw wrong('reason', 'a string', reason);
}

/** Codes that a close frame may carry (RFC 6455, section 7.4). */
function isSendable(code: number): boolean {
  if (!Number.isInteger(code)) return false;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

export function closedError(detail?: CloseDetail): PubSubError {
  const why = detail === undefined ? '' : ` with ${detail.code}${detail.reason === '' ? '' : ` (${detail.reason})`}`;
  return new PubSubError('ERR_CLOSED', `the target was closed${why}; make a new one`, { cause: detail?.error });
}

export function notSubscribed(topic: string): PubSubError {
  return new PubSubError(
    'ERR_NOT_SUBSCRIBED',
    `nobody listens to "${topic}" on this target; add a listener first, then await ready("${topic}")`,
  );
}

function ignore(): void {}
