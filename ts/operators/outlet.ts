// A stream that is filled from outside: groupBy has one for each group and one for the groups themselves.
// Has no bound: whoever fills it counts, by what it is told of.
// Invariants: what was put in before finish() is given before the error or the end; the error is given once; next() calls are served
// in order.

import { Fifo } from '../fifo.js';
import { end, LeavableStream, type Waiter } from './stage.js';

/** What whoever fills an outlet wants to know. */
interface Keeper {
  /** A next() call waits now (1), or `count` of them no longer do (negative). */
  wanted(count: number): void;
  /** So many items were taken out or thrown away. */
  taken(count: number): void;
  /** return() was called; settles when what follows from it is done. */
  left(): Promise<void>;
}

export class Outlet<T> extends LeavableStream<T> {
  readonly #keeper: Keeper;
  readonly #queue = new Fifo<{ readonly value: T }>();
  readonly #waiting = new Fifo<Waiter<T>>();
  #failure: { readonly error: unknown } | undefined;
  #isOver = false;
  #isRead = false;

  constructor(keeper: Keeper) {
    super();
    this.#keeper = keeper;
  }

  /** next() was called. */
  get isRead(): boolean {
    return this.#isRead;
  }

  /** Nothing can be put in any more. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Gives an item to whoever waits; true when nobody does, so that it waits itself. */
  put(value: T): boolean {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#queue.push({ value });
    else {
      this.#keeper.wanted(-1);
      waiter.resolve({ value, done: false });
    }
    return waiter === undefined;
  }

  /** Nothing more comes. */
  finish(failure?: { readonly error: unknown }): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#failure = failure;
    const waiters = this.#waiting.takeAll();
    this.#keeper.wanted(-waiters.length);
    for (const waiter of waiters) this.#close().then(waiter.resolve, waiter.reject);
  }

  /** The same, and what waits is thrown away. */
  drop(): T[] {
    const dropped = this.#queue.takeAll().map(({ value }) => value);
    this.finish();
    this.#failure = undefined;
    this.#keeper.taken(dropped.length);
    return dropped;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    this.#isRead = true;
    const item = this.#queue.shift();
    if (item !== undefined) {
      this.#keeper.taken(1);
      return Promise.resolve({ value: item.value, done: false });
    }
    if (this.#isOver) return this.#close();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#keeper.wanted(1);
    });
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    await this.#keeper.left();
    return end();
  }

  #close(): Promise<IteratorResult<T, undefined>> {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure === undefined ? Promise.resolve(end()) : Promise.reject(failure.error);
  }
}
