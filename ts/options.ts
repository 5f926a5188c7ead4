// Checks options at once, where they are given, and says which one is wrong, what was expected and what came.
// Does not know defaults: those are the engine's, and what is left out stays out.
// Invariant: an option that is not known is refused, never ignored; a misspelt `authorize` must not open a hub.

import { typeError } from './errors.js';

/** Throws unless `options` is an object whose names are all in `known`. `group` is the name of a group such as `listen`. */
export function checkNames(options: unknown, known: readonly string[], group = 'options'): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw wrong(group, 'an object', options);
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw invalidOption(`${group} has no "${name}"; known are ${known.join(', ')}`);
  }
}

export function positiveInteger(name: string, value: number | undefined, most?: number): number | undefined {
  return integer(name, value, 1, most, 'a positive integer');
}

export function nonNegativeInteger(name: string, value: number | undefined, most?: number): number | undefined {
  return integer(name, value, 0, most, 'a non-negative integer');
}

export function boolean(name: string, value: boolean | undefined): boolean | undefined {
  return checked(name, value, typeof value === 'boolean', 'a boolean');
}

export function string(name: string, value: string | undefined): string | undefined {
  return checked(name, value, typeof value === 'string' && value !== '', 'a non-empty string');
}

export function strings(name: string, value: readonly string[] | undefined): readonly string[] | undefined {
  return checked(
    name,
    value,
    Array.isArray(value) && value.every((item) => typeof item === 'string'),
    'an array of strings',
  );
}

// biome-ignore lint/complexity/noBannedTypes: whatever can be called
export function callback<TFunction extends Function>(
  name: string,
  value: TFunction | undefined,
): TFunction | undefined {
  return checked(name, value, typeof value === 'function', 'a function');
}

export function oneOf<TWord extends string>(
  name: string,
  value: TWord | undefined,
  words: readonly TWord[],
): TWord | undefined {
  const expected = `one of ${words.map((word) => JSON.stringify(word)).join(', ')}`;
  return checked(name, value, words.includes(value as TWord), expected);
}

export function abortSignal(name: string, value: AbortSignal | undefined): AbortSignal | undefined {
  return checked(name, value, typeof value?.addEventListener === 'function', 'an AbortSignal');
}

/** Throws unless `value` has the methods of an `EventTarget`. */
export function checkTarget(name: string, value: EventTarget): void {
  const { addEventListener, removeEventListener, dispatchEvent } = Object(value) as Partial<EventTarget>;
  const isTarget = [addEventListener, removeEventListener, dispatchEvent].every((it) => typeof it === 'function');
  if (!isTarget) throw wrong(name, 'an object with the methods of an EventTarget', value);
}

/** What an option may be: true or false, one of some words, or an integer from the first to the second number. */
export type Kind = 'boolean' | readonly string[] | readonly [least: 0 | 1, most?: number];

/** Checks every option that `kinds` knows; what was left out stays out. */
export function readAll(options: object, kinds: Readonly<Record<string, Kind>>): Record<string, unknown> {
  const values = Object.entries(kinds).map(([name, kind]) => {
    const value: unknown = (options as Record<string, unknown>)[name];
    return [name, readOne(name, value as never, kind)];
  });
  return given(Object.fromEntries(values));
}

function readOne(name: string, value: never, kind: Kind): unknown {
  if (kind === 'boolean') return boolean(name, value);
  const [least, most] = kind;
  if (typeof least === 'string') return oneOf(name, value, kind as readonly string[]);
  return (least === 0 ? nonNegativeInteger : positiveInteger)(name, value, most as number | undefined);
}

/** The object without the names whose value is `undefined`. */
export function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** A `TypeError` for a value that an option cannot have. */
export function wrong(name: string, expected: string, value: unknown): TypeError {
  return invalidOption(`${name} must be ${expected}, got ${describe(value)}`);
}

export function invalidOption(message: string, cause?: unknown): TypeError {
  return typeError('ERR_INVALID_OPTION', message, cause);
}

function integer(
  name: string,
  value: number | undefined,
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
  expected: string = 'an integer',
): number | undefined {
  const isRight = Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
  const bound = most === Number.MAX_SAFE_INTEGER ? '' : ` up to ${most}`;
  return checked(name, value, isRight, expected + bound);
}

function checked<T>(name: string, value: T | undefined, isRight: boolean, expected: string): T | undefined {
  if (value !== undefined && !isRight) throw wrong(name, expected, value);
  return value;
}

/** Numbers and short strings as they are, all else by its kind: an option may hold a key or a token. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string')
    return value.length > 40 ? `a string of ${value.length} characters` : JSON.stringify(value);
  if (typeof value === 'object' || typeof value === 'function')
    return typeof value === 'object' ? 'an object' : 'a function';
  return String(value);
}
