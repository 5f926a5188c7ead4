// Operators that make other items of the ones that come: map and flat.
// Invariants: order is kept; the callback of map is never called while another call of it is pending; flat reads one inner
// source at a time and leaves it together with the outer one.

import { checkCallback, isAsyncIterable, isIterable } from './source.js';
import { type Operator, Stage, type Stream, stage, Upstream } from './stage.js';

/** What `flat` makes of an item: arrays and other iterables, async ones too, are opened; strings and all else pass. */
export type FlatItem<T> =
  T extends AsyncIterable<infer TInner> ? TInner : T extends string ? T : T extends Iterable<infer TInner> ? TInner : T;

/**
 * Makes one item of each.
 *
 * ```js
 * pipe(messages, map(({ payload }) => payload.text));
 * ```
 */
export function map<TIn, TOut>(fn: (item: TIn) => TOut | PromiseLike<TOut>): Operator<TIn, TOut> {
  checkCallback('fn', fn);
  return (source) =>
    stage(source, (upstream) => async () => {
      const result = await upstream.next();
      return result.done === true ? result : { value: await fn(result.value), done: false };
    });
}

/**
 * Opens items that are iterable, one level deep and one after the other.
 *
 * ```js
 * pipe(messages, batch(100), flat());
 * ```
 */
export function flat(): <T>(source: AsyncIterable<T>) => Stream<FlatItem<T>> {
  return (source) => {
    const flattened = new Flattened(source);
    return new Stage(flattened.pull, flattened.leave);
  };
}

class Flattened<T> {
  readonly #outer: Upstream<T>;
  #inner: Upstream<unknown> | undefined;

  constructor(source: AsyncIterable<T>) {
    this.#outer = new Upstream(source);
  }

  readonly pull = async (): Promise<IteratorResult<FlatItem<T>, undefined>> => {
    for (;;) {
      const inner = await this.#inner?.next();
      if (inner?.done === false) return inner as IteratorYieldResult<FlatItem<T>>;
      this.#inner = undefined;
      const outer = await this.#outer.next();
      if (outer.done === true) return outer;
      this.#inner = opened(outer.value);
      if (this.#inner === undefined) return outer as IteratorYieldResult<FlatItem<T>>;
    }
  };

  /** Both are left, the inner one first, whatever goes wrong with it. */
  readonly leave = async (): Promise<void> => {
    const inner = this.#inner?.leave();
    const outer = this.#outer.leave();
    await inner;
    await outer;
  };
}

function opened(item: unknown): Upstream<unknown> | undefined {
  if (isAsyncIterable(item)) return new Upstream(item);
  return isIterable(item) ? new Upstream(asAsync(item)) : undefined;
}

function asAsync<T>(items: Iterable<T>): AsyncIterable<T> {
  return {
    async *[Symbol.asyncIterator]() {
      yield* items;
    },
  };
}
