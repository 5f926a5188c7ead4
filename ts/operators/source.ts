// Opens what an operator is given to read, and checks the numbers and functions that operators are made with.
// Does not read anything.
// Invariant: what is wrong throws where it was written, before anything is pulled or a stream is made.

import { rangeError, typeError } from '../errors.js';
import { callback, describe } from '../options.js';

/** Opens a source. Throws a `TypeError` that says what came instead. */
export function iteratorOf<T>(source: AsyncIterable<T>): AsyncIterator<T> {
  checkSource(source);
  return source[Symbol.asyncIterator]();
}

export function checkSource(source: unknown): void {
  if (isAsyncIterable(source)) return;
  throw typeError('ERR_INVALID_OPTION', `an operator reads an async iterable, got ${describe(source)}`);
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof (value as Partial<AsyncIterable<unknown>> | null | undefined)?.[Symbol.asyncIterator] === 'function';
}

/** Strings are values, as for `Array.prototype.flat`. */
export function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}

/** Throws unless `fn` can be called. `name` is what the parameter is called in the operator's signature. */
// biome-ignore lint/complexity/noBannedTypes: whatever can be called
export function checkCallback(name: string, fn: Function): void {
  if (fn === undefined) throw typeError('ERR_INVALID_OPTION', `${name} must be a function, got undefined`);
  callback(name, fn);
}

/** Throws a `RangeError` unless `value` is a whole number from `least` to `most`. */
export function checkCount(name: string, value: number, least: number, most: number = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  const bound = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  throw rangeError(`${name} must be a whole number ${bound}, got ${describe(value)}`);
}
