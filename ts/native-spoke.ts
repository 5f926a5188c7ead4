// Makes a native spoke and wraps it. Does not know a transport: each transport's factory says where its spokes connect.

import { closeOnAbort } from './life-cycle.js';
import { abortSignal, boolean } from './options.js';
import type { NativeSpokeOptions, NativeSpokePort } from './port.js';
import { readSpokeOptions, type SpokeOptions } from './spoke-options.js';
import { type Destination, SpokeTarget } from './spoke-target.js';
import type { NativeTarget, TypedEvent } from './types.js';

/** A value, or a function that is asked for it before each attempt to connect. */
export type OrAsked<T> = T | (() => T | PromiseLike<T>);

/** The value, asked for if need be. */
export async function current<T extends object | string>(value: OrAsked<T>): Promise<T> {
  return typeof value === 'function' ? value() : value;
}

/** Where a spoke connects; a function is asked before each attempt. */
export type DestinationOption = Destination | (() => Promise<Destination>);

/** Makes a spoke; `connect` makes the native one, `Target` wraps it. */
export function makeSpoke<TEvent extends TypedEvent>(
  options: SpokeOptions,
  destination: DestinationOption,
  connect: (options: NativeSpokeOptions) => NativeSpokePort,
  Target: typeof SpokeTarget = SpokeTarget,
): NativeTarget<TEvent> {
  const signal = abortSignal('signal', options.signal);
  const echo = boolean('echo', options.echo);
  const asks = typeof destination === 'function';
  const native = connect({
    ...(asks ? { url: '', headers: [] } : destination),
    asks,
    ...readSpokeOptions(options),
  });
  const target = new Target(native, { echo, asks, destination: asks ? destination : async () => destination });
  if (signal !== undefined) closeOnAbort(target, signal);
  return target as NativeTarget<TEvent>;
}
