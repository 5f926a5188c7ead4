// Operators that let some items pass and change none: filter, dedupe, take.
// Invariants: order is kept; a callback is never called while another call of it is pending; dedupe remembers at most `maxKeys` keys.

import { checkNames } from '../options.js';
import { checkCallback, checkCount } from './source.js';
import { end, type Operator, type Pull, stage, type Upstream } from './stage.js';

/** The bound of the memory. */
export interface DedupeOptions {
  /** Keys that are remembered; the one that was seen longest ago is forgotten. Default 65 536. */
  readonly maxKeys?: number;
}

/**
 * Lets those items pass for which `pred` says true; a type guard narrows.
 *
 * ```js
 * pipe(messages, filter(({ payload }) => payload.text !== ''));
 * ```
 */
export function filter<T, TKept extends T>(pred: (item: T) => item is TKept): Operator<T, TKept>;
export function filter<T>(pred: (item: T) => boolean | PromiseLike<boolean>): Operator<T, T>;
export function filter<T>(pred: (item: T) => boolean | PromiseLike<boolean>): Operator<T, T> {
  checkCallback('pred', pred);
  return (source) => stage(source, (upstream) => () => nextThat(upstream, pred));
}

/**
 * Lets an item pass unless one with the same key passed before. Keys are compared as in a `Set`; without `keyFn` the item is its
 * own key, which for objects, envelopes among them, means: the same object.
 *
 * ```js
 * pipe(messages, dedupe(({ payload }) => payload.messageId));
 * ```
 */
export function dedupe<T>(keyFn: (item: T) => unknown = (item) => item, options: DedupeOptions = {}): Operator<T, T> {
  checkCallback('keyFn', keyFn);
  checkNames(options, ['maxKeys']);
  const { maxKeys = DEFAULT_MAX_KEYS } = options;
  checkCount('maxKeys', maxKeys, 1);
  return (source) =>
    stage(source, (upstream) => {
      const seen = new Memory(maxKeys);
      return () => nextThat(upstream, async (item) => seen.isNew(await keyFn(item)));
    });
}

/**
 * Lets the first `count` items pass and leaves the source with the last of them, before anybody has looked at it.
 *
 * ```js
 * pipe(messages, take(10));
 * ```
 */
export function take<T>(count: number): Operator<T, T> {
  checkCount('count', count, 0);
  return (source) => stage(source, (upstream) => pullAtMost(upstream, count));
}

const DEFAULT_MAX_KEYS = 65_536;

async function nextThat<T>(
  upstream: Upstream<T>,
  pred: (item: T) => boolean | PromiseLike<boolean>,
): Promise<IteratorResult<T, undefined>> {
  for (;;) {
    const result = await upstream.next();
    if (result.done === true || (await pred(result.value))) return result;
  }
}

function pullAtMost<T>(upstream: Upstream<T>, count: number): Pull<T> {
  let left = count;
  return async () => {
    // Awaited here and not below: what goes wrong in leaving comes after the last item.
    if (left === 0) await upstream.leave();
    const result = left === 0 ? end() : await upstream.next();
    if (result.done !== true && --left === 0) void upstream.leave();
    return result;
  };
}

/** The keys that were seen last. */
class Memory {
  readonly #maxKeys: number;
  /** In the order in which they were seen last. */
  readonly #keys = new Set<unknown>();

  constructor(maxKeys: number) {
    this.#maxKeys = maxKeys;
  }

  isNew(key: unknown): boolean {
    const isKnown = this.#keys.delete(key);
    this.#keys.add(key);
    if (this.#keys.size > this.#maxKeys) this.#keys.delete(this.#keys.keys().next().value);
    return !isKnown;
  }
}
