// The bounded queue behind an async iterator: events are pushed in, a consumer pulls them out.
// Does not know targets: it is told by `push`, `pushGap` and `finish` what happened, and calls `onEnd` when it needs no more.
// Invariants: what was queued is delivered before the iteration ends, except after return(), throw() and abort; at most
// `maxQueued` events wait; concurrent next() calls are served in the order in which they were made.

import { onAbort } from './abort.js';
import { callBack, GapError, type InvalidPayloadError, SlowConsumerError } from './errors.js';
import { Fifo } from './fifo.js';
import type { Stream, Waiter } from './operators/stage.js';
import { abortSignal, callback, checkNames, oneOf, positiveInteger } from './options.js';
import type { EventEnvelope, GapDetail } from './types.js';
import type { Acknowledgement } from './waiting.js';

/** How a subscription waits, and what it does about what it misses. */
export interface SubscribeOptions {
  /** Ends the iteration when it is aborted; what is queued is dropped. */
  readonly signal?: AbortSignal;
  /** Events that may wait for the consumer. Default 16 384 (a guess). */
  readonly maxQueued?: number;
  /**
   * What happens when one more comes: "error" (default) ends the subscription with `SlowConsumerError` after what is queued;
   * "drop-oldest" and "drop-newest" go on and count in `dropped`.
   */
  readonly overflow?: 'error' | 'drop-oldest' | 'drop-newest';
  /** Called when the consumer comes to a place where events may be missing. */
  readonly onGap?: (gap: GapDetail) => void;
  /** "throw" ends the subscription with `GapError` at such a place. */
  readonly gap?: 'throw';
  /** With `schemas`: called for each payload that does not match; without it the target raises `error`, once a second at most. */
  readonly onInvalid?: (error: InvalidPayloadError, envelope: EventEnvelope) => void;
  /** "throw" ends the subscription with `InvalidPayloadError` at such a payload; otherwise it is skipped. */
  readonly invalid?: 'throw';
}

/** An async iterator of envelopes that listens until it is left. */
export interface Subscription<T> extends Stream<T> {
  /** Events dropped by `overflow`. */
  readonly dropped: number;
  /** Events skipped because their payload did not match its schema. */
  readonly invalid: number;
  /** Resolves when the subscription is active, as the target's `ready(topic)`; `acknowledged` is false where a target cannot tell. */
  readonly ready: Promise<Acknowledgement>;
  [Symbol.asyncIterator](): Subscription<T>;
}

/** What a queue needs of whoever fills it. */
interface Source {
  readonly topic: string;
  /** Nothing more is wanted. Called once. */
  onEnd(): void;
  ready(): Promise<Acknowledgement>;
}

const DEFAULT_MAX_QUEUED = 16_384;

/** A place between two events where others may be missing. */
class Mark {
  readonly gap: GapDetail;

  constructor(gap: GapDetail) {
    this.gap = gap;
  }
}

export class SubscriptionQueue<T extends object> implements Subscription<T> {
  readonly #source: Source;
  readonly #options: SubscribeOptions;
  readonly #maxQueued: number;
  readonly #queue = new Fifo<T | Mark>();
  #marks = 0;
  readonly #waiting = new Fifo<Waiter<T>>();
  #dropped = 0;
  #isEnded = false;
  /** What to reject with once the queue is empty. */
  #error: Error | undefined;
  #ready: Promise<Acknowledgement> | undefined;
  readonly #forgetSignal: (() => void) | undefined;

  constructor(source: Source, options: SubscribeOptions) {
    this.#source = source;
    this.#options = options;
    this.#maxQueued = options.maxQueued ?? DEFAULT_MAX_QUEUED;
    if (options.signal !== undefined) this.#forgetSignal = onAbort(options.signal, this.#abort);
  }

  get dropped(): number {
    return this.#dropped;
  }

  /** Nothing is checked here. */
  get invalid(): number {
    return 0;
  }

  get ready(): Promise<Acknowledgement> {
    if (this.#ready === undefined) {
      this.#ready = this.#source.ready();
      this.#ready.catch(() => {});
    }
    return this.#ready;
  }

  push(value: T): void {
    if (this.#isEnded) return;
    const waiter = this.#waiting.shift();
    if (waiter !== undefined) waiter.resolve({ value, done: false });
    else if (this.#size < this.#maxQueued) this.#queue.push(value);
    else this.#overflow(value);
  }

  pushGap(gap: GapDetail): void {
    if (this.#isEnded) return;
    if (this.#options.onGap !== undefined) this.#mark(gap);
    if (this.#options.gap === 'throw') this.finish(new GapError(this.#source.topic, gap));
  }

  /** Nothing more will come; what is queued is still delivered, then the error or the end. */
  finish(error?: Error): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    this.#forgetSignal?.();
    this.#source.onEnd();
    // Whoever waits found the queue empty: the first gets the error, the others the end.
    for (const waiter of this.#waiting.takeAll()) this.#end().then(waiter.resolve, waiter.reject);
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const value = this.#shift();
    if (value !== undefined) return Promise.resolve({ value, done: false });
    if (this.#isEnded) return this.#end();
    return new Promise(this.#wait);
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#abort();
    return Promise.resolve({ value: undefined, done: true });
  }

  throw(error?: unknown): Promise<IteratorResult<T, undefined>> {
    this.#abort();
    return Promise.reject(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  get #size(): number {
    return this.#queue.size - this.#marks;
  }

  readonly #abort = (): void => {
    this.#queue.clear();
    this.#marks = 0;
    this.#error = undefined;
    this.finish();
  };

  #end(): Promise<IteratorResult<T, undefined>> {
    const error = this.#error;
    this.#error = undefined;
    return error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(error);
  }

  /** Made once: a closure for each pull would cost as much as the pull. */
  readonly #wait = (resolve: Waiter<T>['resolve'], reject: Waiter<T>['reject']): void => {
    this.#waiting.push({ resolve, reject });
  };

  /** The next event; marks before it are told of on the way. */
  #shift(): T | undefined {
    for (;;) {
      const item = this.#queue.shift();
      if (!(item instanceof Mark)) return item;
      this.#marks--;
      this.#tell(item.gap);
    }
  }

  #overflow(value: T): void {
    const { overflow = 'error' } = this.#options;
    if (overflow === 'error') return this.finish(new SlowConsumerError(this.#source.topic, this.#maxQueued));
    this.#dropped++;
    if (overflow === 'drop-newest') return;
    this.#shift();
    this.push(value);
  }

  /** Events that came before a gap are read before it is told of. */
  #mark(gap: GapDetail): void {
    if (this.#queue.size === 0) return this.#tell(gap);
    this.#queue.push(new Mark(gap));
    this.#marks++;
  }

  #tell(gap: GapDetail): void {
    callBack(() => this.#options.onGap?.(gap));
  }
}

export function checkSubscribeOptions(options: SubscribeOptions): void {
  checkNames(options, ['signal', 'maxQueued', 'overflow', 'onGap', 'gap', 'onInvalid', 'invalid']);
  abortSignal('signal', options.signal);
  positiveInteger('maxQueued', options.maxQueued);
  oneOf('overflow', options.overflow, ['error', 'drop-oldest', 'drop-newest']);
  callback('onGap', options.onGap);
  oneOf('gap', options.gap, ['throw']);
  callback('onInvalid', options.onInvalid);
  oneOf('invalid', options.invalid, ['throw']);
}
