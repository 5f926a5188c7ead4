// Operators that make arrays of items: batch, one after the other and by time as well, and window, which overlaps.
// Invariants: batch loses no item, whatever ends it; at most one pull from its source is ahead of the batches; a timer runs only while
// a batch that has an item waits for more, and never holds the process; window holds at most `size` items.

import { checkNames } from '../options.js';
import { checkCount } from './source.js';
import { end, ignore, type Operator, type Pull, Stage, stage, Upstream } from './stage.js';

/** When a batch is given on before it is full. */
export interface BatchOptions {
  /** How long after its first item came a batch is given on as it is. Default: as long as it takes to fill it. */
  readonly maxDelayMs?: number;
}

/** What fits a timer. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/**
 * Makes arrays of `size` items; the last one, and with `maxDelayMs` any, may have fewer, none is empty. What came before an error
 * is given on before it. Nothing is read while nobody pulls, except for the one item that a batch had been waiting for.
 *
 * ```js
 * pipe(messages, batch(100, { maxDelayMs: 50 }));
 * ```
 */
export function batch<T>(size: number, options: BatchOptions = {}): Operator<T, T[]> {
  checkCount('size', size, 1);
  checkNames(options, ['maxDelayMs']);
  const { maxDelayMs } = options;
  if (maxDelayMs !== undefined) checkCount('maxDelayMs', maxDelayMs, 0, MAX_DELAY_MS);
  return (source) => {
    const batcher = new Batcher(source, size, maxDelayMs);
    return new Stage(batcher.pull, batcher.leave);
  };
}

/**
 * Makes arrays of `size` neighbours, each beginning `step` items behind the one before it; by default 1, so that they overlap. There
 * are only whole windows: a source with fewer than `size` items gives none.
 *
 * ```js
 * pipe(prices, window(3)); // [1, 2, 3], [2, 3, 4], …
 * ```
 */
export function window<T>(size: number, step: number = 1): Operator<T, T[]> {
  checkCount('size', size, 1);
  checkCount('step', step, 1);
  return (source) => stage(source, (upstream) => pullWindows(upstream, size, step));
}

function pullWindows<T>(upstream: Upstream<T>, size: number, step: number): Pull<T[]> {
  let items: T[] = [];
  /** Items between two windows that are in neither. */
  let toSkip = 0;
  return async () => {
    while (items.length < size) {
      const result = await upstream.next();
      if (result.done === true) return result;
      if (toSkip > 0) toSkip--;
      else items.push(result.value);
    }
    const value = items;
    items = value.slice(step);
    toSkip = Math.max(0, step - size);
    return { value, done: false };
  };
}

/** A pull from the source, and when it was answered. */
interface Reading<T> {
  readonly result: Promise<IteratorResult<T, undefined>>;
  arrivedAt: number;
}

class Batcher<T> {
  readonly #upstream: Upstream<T>;
  readonly #size: number;
  readonly #maxDelayMs: number | undefined;
  /** A pull that no batch has had the answer of yet. */
  #ahead: Reading<T> | undefined;
  #failure: { readonly error: unknown } | undefined;
  #giveUp: () => void = ignore;

  constructor(source: AsyncIterable<T>, size: number, maxDelayMs: number | undefined) {
    this.#upstream = new Upstream(source);
    this.#size = size;
    this.#maxDelayMs = maxDelayMs;
  }

  readonly pull = async (): Promise<IteratorResult<T[], undefined>> => {
    const items: T[] = [];
    if (this.#failure === undefined) await this.#fill(items).catch((error) => (this.#failure = { error }));
    if (items.length > 0) return { value: items, done: false };
    if (this.#failure !== undefined) throw this.#failure.error;
    return end();
  };

  readonly leave = (): Promise<void> => {
    this.#giveUp();
    return this.#upstream.leave();
  };

  async #fill(items: T[]): Promise<void> {
    let deadline: number | undefined;
    while (items.length < this.#size) {
      this.#ahead ??= this.#read();
      if (deadline !== undefined && !(await this.#isThereBy(deadline, this.#ahead))) return;
      const reading = this.#ahead;
      const result = await reading.result;
      this.#ahead = undefined;
      if (result.done === true) return;
      items.push(result.value);
      if (this.#maxDelayMs !== undefined) deadline ??= reading.arrivedAt + this.#maxDelayMs;
    }
  }

  #read(): Reading<T> {
    const reading: Reading<T> = { result: this.#upstream.next(), arrivedAt: 0 };
    // Before anybody else waits for it, so that whoever does finds the time.
    reading.result.then(() => {
      reading.arrivedAt = performance.now();
    }, ignore);
    return reading;
  }

  /** Waits for the answer of a pull until `deadline`; false when that came first. */
  #isThereBy(deadline: number, { result }: Reading<T>): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (isThere: boolean): void => {
        // The answer of a pull that was given up may still come.
        if (this.#giveUp !== giveUp) return;
        this.#giveUp = ignore;
        clearTimeout(timer);
        resolve(isThere);
      };
      const giveUp = (): void => settle(false);
      const there = (): void => settle(true);
      const timer = setTimeout(giveUp, Math.max(0, deadline - performance.now()));
      (timer as { unref?(): void }).unref?.();
      this.#giveUp = giveUp;
      result.then(there, there);
    });
  }
}
