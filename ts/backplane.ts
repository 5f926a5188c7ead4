// The hub option `backplane`: which targets can join hubs, and what they give to the hub for that.
// Does not carry anything: what comes and goes between hubs never enters JavaScript.

import { wrong } from './options.js';
import type { NativeBackplane } from './port.js';

/** The method by which a target joins hubs. */
export const joins: unique symbol = Symbol('alkpubsub.joins');

/** A target that joins the hubs that are given it as their `backplane`. It stays the caller's: a hub never closes it. */
export interface BackplaneTarget {
  [joins](): NativeBackplane;
}

/** What a hub needs of its backplane; throws for what is none. */
export function readBackplane(target: BackplaneTarget | undefined): NativeBackplane | undefined {
  if (target === undefined) return undefined;
  const join: unknown = (target as Partial<BackplaneTarget> | null)?.[joins];
  if (typeof join !== 'function')
    throw wrong(
      'backplane',
      'a target that joins hubs, such as one of createRedisEventTarget, or { url } of a Redis',
      target,
    );
  return target[joins]();
}
