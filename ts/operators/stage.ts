// What the streams of all operators have in common: next() calls are served one at a time and in order, the end comes once, and
// whoever leaves a stream leaves its source. Does not know what an operator does: that is the `pull` it is made with.
// Not an async generator, because return() of a generator waits for a next() that is pending: a source that is silent could not be left.
// Invariants: `pull` is never called before its last promise has settled, and not after the end; after return() no next() is pending.

import { Fifo } from '../fifo.js';
import { iteratorOf } from './source.js';

/** What an operator makes: an async iterator that leaves its source when it is left. */
export interface Stream<T> extends AsyncIterableIterator<T, undefined, undefined>, AsyncDisposable {
  /** The next item. Pulls may overlap; each gets its own item, in order. */
  next(): Promise<IteratorResult<T, undefined>>;
  /** Ends the stream and leaves its source; a next() that is pending gets the end at once. */
  return(): Promise<IteratorResult<T, undefined>>;
  /** Leaves the source, then rejects with `error`. */
  throw(error?: unknown): Promise<IteratorResult<T, undefined>>;
  [Symbol.asyncIterator](): Stream<T>;
}

/** Makes a stream of another one; what `pipe` strings together. */
export type Operator<TIn, TOut> = (source: AsyncIterable<TIn>) => Stream<TOut>;

/** Reads a source to its end and makes one value of it; can only be the last in `pipe`. */
export type Sink<TIn, TOut> = (source: AsyncIterable<TIn>) => Promise<TOut>;

export type Pull<T> = () => Promise<IteratorResult<T, undefined>>;

/** A next() that is pending. */
export interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/** The end, made anew each time: it is the caller's. */
export function end(): IteratorReturnResult<undefined> {
  return { value: undefined, done: true };
}

/** A source as an operator sees it: left at most once, and never after it has ended by itself. */
export class Upstream<T> {
  readonly #source: AsyncIterable<T>;
  #iterator: AsyncIterator<T> | undefined;
  /** There once the source has ended or was left. */
  #left: Promise<void> | undefined;

  constructor(source: AsyncIterable<T>) {
    this.#source = source;
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    if (this.#left !== undefined) return end();
    try {
      const result = await this.#open().next();
      // Left meanwhile: what a slow source still gives is nobody's.
      if (this.#left !== undefined) return end();
      if (result.done !== true) return result;
    } catch (error) {
      const wasLeft = this.#left !== undefined;
      this.#left ??= Promise.resolve();
      if (!wasLeft) throw error;
    }
    this.#left ??= Promise.resolve();
    return end();
  }

  /** Calls return() of the source, which is opened for that if need be: a subscription listens before it is first pulled. */
  leave(): Promise<void> {
    if (this.#left === undefined) {
      this.#left = this.#return();
      this.#left.catch(ignore);
    }
    return this.#left;
  }

  async #return(): Promise<void> {
    await this.#open().return?.();
  }

  #open(): AsyncIterator<T> {
    this.#iterator ??= iteratorOf(this.#source);
    return this.#iterator;
  }
}

/** The stream of an operator with one source. */
export function stage<TIn, TOut>(
  source: AsyncIterable<TIn>,
  makePull: (upstream: Upstream<TIn>) => Pull<TOut>,
): Stream<TOut> {
  const upstream = new Upstream(source);
  return new Stage(makePull(upstream), () => upstream.leave());
}

/** What every stream makes of its own next() and return(). */
export abstract class LeavableStream<T> implements Stream<T> {
  abstract next(): Promise<IteratorResult<T, undefined>>;

  abstract return(): Promise<IteratorResult<T, undefined>>;

  async throw(error?: unknown): Promise<IteratorResult<T, undefined>> {
    await this.return();
    throw error;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

export class Stage<T> extends LeavableStream<T> {
  readonly #pull: Pull<T>;
  readonly #leave: () => Promise<unknown>;
  readonly #waiting = new Fifo<Waiter<T>>();
  #isPulling = false;
  #isOver = false;

  constructor(pull: Pull<T>, leave: () => Promise<unknown>) {
    super();
    this.#pull = pull;
    this.#leave = leave;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#isOver) return Promise.resolve(end());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      if (!this.#isPulling) void this.#pullForAll();
    });
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    this.#finish();
    await this.#leave();
    return end();
  }

  async #pullForAll(): Promise<void> {
    this.#isPulling = true;
    try {
      while (this.#waiting.size > 0) {
        const result = await this.#pull();
        if (result.done === true) this.#finish();
        else this.#waiting.shift()?.resolve(result);
      }
    } catch (error) {
      // As when a loop is left by a throw: the source is left first, and what goes wrong there gives way.
      await this.#leave().catch(ignore);
      this.#waiting.shift()?.reject(error);
      this.#finish();
    }
    this.#isPulling = false;
  }

  /** Whoever still waits gets the end. */
  #finish(): void {
    this.#isOver = true;
    for (const waiter of this.#waiting.takeAll()) waiter.resolve(end());
  }
}

export function ignore(): void {}
