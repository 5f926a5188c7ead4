// Strings operators together: each gets what the one before it made. Reads nothing itself.
// Invariant: the types of callbacks follow from the source, through up to ten operators.

import { typeError } from '../errors.js';
import { describe } from '../options.js';
import { checkSource } from './source.js';

/**
 * Passes `source` through operators, the first one first, and gives what the last one makes: a stream, or the promise of `reduce` or
 * `toArray`. Any function of one argument will do as an operator. Nothing is read before the result is.
 *
 * ```js
 * const stream = pipe(
 *   pubsub.subscribe('chat.msg', 'room1'),
 *   filter(({ payload }) => payload.text !== ''),
 *   map(({ payload }) => payload.text),
 *   take(10),
 * );
 * for await (const text of stream) console.log(text);
 * ```
 */
export function pipe<T, S extends AsyncIterable<T>>(source: S & AsyncIterable<T>): S;
export function pipe<T, A>(source: AsyncIterable<T>, a: (source: AsyncIterable<T>) => A): A;
export function pipe<T, A, B>(source: AsyncIterable<T>, a: (source: AsyncIterable<T>) => A, b: (source: A) => B): B;
export function pipe<T, A, B, C>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
): C;
export function pipe<T, A, B, C, D>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
  d: (source: C) => D,
): D;
export function pipe<T, A, B, C, D, E>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
  d: (source: C) => D,
  e: (source: D) => E,
): E;
export function pipe<T, A, B, C, D, E, F>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
  d: (source: C) => D,
  e: (source: D) => E,
  f: (source: E) => F,
): F;
export function pipe<T, A, B, C, D, E, F, G>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
  d: (source: C) => D,
  e: (source: D) => E,
  f: (source: E) => F,
  g: (source: F) => G,
): G;
export function pipe<T, A, B, C, D, E, F, G, H>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
  d: (source: C) => D,
  e: (source: D) => E,
  f: (source: E) => F,
  g: (source: F) => G,
  h: (source: G) => H,
): H;
export function pipe<T, A, B, C, D, E, F, G, H, I>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
  d: (source: C) => D,
  e: (source: D) => E,
  f: (source: E) => F,
  g: (source: F) => G,
  h: (source: G) => H,
  i: (source: H) => I,
): I;
export function pipe<T, A, B, C, D, E, F, G, H, I, J>(
  source: AsyncIterable<T>,
  a: (source: AsyncIterable<T>) => A,
  b: (source: A) => B,
  c: (source: B) => C,
  d: (source: C) => D,
  e: (source: D) => E,
  f: (source: E) => F,
  g: (source: F) => G,
  h: (source: G) => H,
  i: (source: H) => I,
  j: (source: I) => J,
): J;
export function pipe(source: AsyncIterable<unknown>, ...operators: readonly ((source: never) => unknown)[]): unknown {
  checkSource(source);
  for (const operator of operators) {
    if (typeof operator !== 'function')
      throw typeError('ERR_INVALID_OPTION', `pipe strings functions together, got ${describe(operator)}`);
  }
  return operators.reduce<unknown>((made, operator) => operator(made as never), source);
}
