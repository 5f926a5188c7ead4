// What the end of a link means: who tries again, when, and with which error. The engine's is in engine/src/spoke/actor/verdict.rs and
// backoff.rs. Does not sleep and does not roll dice.

import type { ErrorCode } from '../errors.js';

/** Milliseconds after which a link was good: the next loss starts again with the first delay. Source: contract section 5. */
export const STABLE_MS = 60_000;

/** Protocol errors in a row after which the other end is taken for something else. Source: contract section 1. */
export const MAX_PROTOCOL_ERRORS = 3;

/** `retryAfterMs=` above this counts as this. A guess. */
const MAX_RETRY_AFTER_MS = 60_000;

/** Bytes of a close reason. Source: RFC 6455, section 5.5. */
const MAX_REASON_BYTES = 123;

const errors: Readonly<Record<number, ErrorCode>> = {
  1002: 'ERR_PROTOCOL',
  1007: 'ERR_PROTOCOL',
  1009: 'ERR_MESSAGE_TOO_LARGE',
  1013: 'ERR_SLOW_CONSUMER',
  4401: 'ERR_NOT_IDENTIFIED',
  4403: 'ERR_FORBIDDEN',
};

/** The error behind a close code. */
export function codeOf(close: number): ErrorCode {
  return errors[close] ?? 'ERR_CONNECTION_LOST';
}

export function isProtocolError(close: number): boolean {
  return close === 1002 || close === 1007 || close === 1009;
}

/** Milliseconds before an attempt, counted from one: full jitter over a doubling bound; `dice` is uniform in 0..1. */
export function delayMs(minDelayMs: number, maxDelayMs: number, attempt: number, dice: number): number {
  return Math.round(dice * Math.min(maxDelayMs, minDelayMs * 2 ** Math.min(attempt - 1, 30)));
}

/** Milliseconds that a hub asks to wait, in the reason of its close. */
export function retryAfterMs(reason: string): number {
  return Math.min(Number(/retryAfterMs=(\d+)/.exec(reason)?.[1] ?? 0), MAX_RETRY_AFTER_MS);
}

/** A page may close with 1000 and 3000 to 4999 only: the others go out 3000 higher. */
export function sendable(close: number): number {
  return close === 1000 || close >= 3000 ? close : close + 3000;
}

/** As much of a reason as a close frame holds, cut at a character. */
export function cutReason(reason: string): string {
  return reason.slice(0, new TextEncoder().encodeInto(reason, new Uint8Array(MAX_REASON_BYTES)).read);
}
