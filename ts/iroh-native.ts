// The native endpoints behind the objects of iroh.ts, for the factories of hubs and spokes. Does not make endpoints.
// Invariant: an error that the addon throws here reaches the caller with its code.

import { PubSubError, typeError } from './errors.js';
import { wrong } from './options.js';
import type { NativeEndpoint, NativeOutcome } from './port.js';

const natives = new WeakMap<object, NativeEndpoint>();

/** The object stands for the native endpoint from now on. */
export function bindNative(endpoint: object, native: NativeEndpoint): void {
  natives.set(endpoint, native);
}

/** The native endpoint of an option. */
export function nativeOf(endpoint: unknown): NativeEndpoint {
  const native = typeof endpoint === 'object' && endpoint !== null ? natives.get(endpoint) : undefined;
  if (native === undefined) throw wrong('endpoint', 'an Endpoint of @alkdev/pubsub-native/iroh', endpoint);
  return native;
}

/** Calls the addon, whose errors begin with their code. */
export function calling<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw toPubSubError(error);
  }
}

/** The error that the addon means. */
export function toPubSubError(error: unknown): unknown {
  const [, code, message] = (error instanceof Error ? /^(ERR_[A-Z_]+): (.*)$/s.exec(error.message) : null) ?? [];
  if (code === undefined || message === undefined) return error;
  const isMisuse = code === 'ERR_INVALID_ID' || code === 'ERR_INVALID_OPTION';
  return isMisuse ? typeError(code, message) : new PubSubError(code, message);
}

/** Waits for the one call of `start`'s callback. */
export function outcome(start: (onDone: (outcome: NativeOutcome) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start(({ code, message }) => {
      if (code === undefined || code === null) resolve();
      else reject(toPubSubError(new Error(`${code}: ${message}`)));
    });
  });
}
