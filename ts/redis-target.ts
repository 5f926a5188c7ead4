// What the target at a Redis adds to a spoke: it joins hubs, and what a turn has published goes out in one write.
// Does not read options (event-target-redis.ts), and does not carry what goes between hubs (engine/src/spoke/backplane.rs).

import { type BackplaneTarget, joins } from './backplane.js';
import { invalidOption } from './options.js';
import type { NativeBackplane, NativeSpokePort } from './port.js';
import { SpokeTarget, type SpokeTargetOptions } from './spoke-target.js';

/** Hubs connect without asking JavaScript, so what they connect to must be known. */
export const askedBackplane =
  'backplane: url, username and password of a Redis that joins hubs must be texts, not functions';

export class RedisTarget extends SpokeTarget implements BackplaneTarget {
  readonly #port: NativeSpokePort;
  readonly #asks: boolean;

  constructor(port: NativeSpokePort, options: SpokeTargetOptions) {
    super(port, { ...options, gathers: true });
    this.#port = port;
    this.#asks = options.asks === true;
  }

  [joins](): NativeBackplane {
    const backplane = this.#asks ? null : this.#port.backplane();
    if (backplane === null) throw invalidOption(askedBackplane);
    return backplane;
  }
}
