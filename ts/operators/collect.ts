// Ends of a pipeline: read the source to its end and give one value. Do not stop early, unless a callback throws.
// Invariant: when a callback throws or rejects, the source is left before the promise rejects.

import { checkCallback, checkSource } from './source.js';
import type { Sink } from './stage.js';

/**
 * Makes one value of all items: `fn` gets what was made so far and the next item. Rejects with what the source or `fn` throws.
 *
 * ```js
 * const total = await pipe(payments, reduce((sum, { payload }) => sum + payload.cents, 0));
 * ```
 */
export function reduce<TIn, TOut>(
  fn: (made: TOut, item: TIn) => TOut | PromiseLike<TOut>,
  initial: TOut,
): Sink<TIn, TOut> {
  checkCallback('fn', fn);
  return async (source) => {
    checkSource(source);
    let made = initial;
    for await (const item of source) made = await fn(made, item);
    return made;
  };
}

/**
 * All items in an array, which has no bound: put `take` before it where the source may go on.
 *
 * ```js
 * const first = await pipe(messages, take(3), toArray());
 * ```
 */
export function toArray(): <T>(source: AsyncIterable<T>) => Promise<T[]> {
  return async <T>(source: AsyncIterable<T>): Promise<T[]> => {
    checkSource(source);
    const items: T[] = [];
    for await (const item of source) items.push(item);
    return items;
  };
}
