// Errors as users see them: a class, a stable `code` and a message that says what was wrong, what was expected and what to do.
// Does not decide when an error is raised, and does not report any.
// Invariant: whatever this package reports carries a `code` that begins with `ERR_`; so does what it throws, except where the platform's
// EventTarget throws the same bare TypeError or DOMException.

import type { StandardIssue } from './standard-schema.js';

/** The codes that TypeScript raises itself; the engine has more, and a peer may refuse with words of its own (`ERR_` + the word). */
export const errorCodes = {
  ERR_BUFFER_FULL: 'an event was dropped because no room was left for it',
  ERR_CLOSED: 'the target was closed, or closed before the answer came',
  ERR_CONNECTION_LOST: 'an established link broke',
  ERR_FORBIDDEN: 'the peer does not permit this',
  ERR_GAP: 'events were missed and the subscription asked to end then',
  ERR_HANDLER_FAILED: 'a callback given to a hub threw or rejected',
  ERR_INVALID_ID: 'a text names no Iroh endpoint: it is neither an id nor a ticket',
  ERR_INVALID_OPTION: 'an option has a wrong type or value, or is unknown',
  ERR_INVALID_PAYLOAD: 'a payload does not match the schema of its type',
  ERR_INVALID_TOPIC: 'a topic is not of the form "type:id", its type is empty, or it is not well-formed Unicode',
  ERR_LIMIT: 'a limit of the peer was reached',
  ERR_LISTEN: 'the address could not be had, or was asked for before it was there',
  ERR_MALFORMED: 'a message could not be understood and was skipped',
  ERR_MESSAGE_TOO_LARGE: 'an event is larger than the transport carries',
  ERR_NO_HELLO: 'the hub did not say hello and `peer: "native"` was asked for',
  ERR_NOT_A_WORKER: 'this thread is no worker that has a host to talk to',
  ERR_NOT_IDENTIFIED: 'the peer does not know who this is',
  ERR_NOT_SERIALIZABLE: 'a payload has no JSON form',
  ERR_NOT_SUBSCRIBED: 'nobody listens to the topic on this target',
  ERR_OUT_OF_RANGE: 'a number given to an operator is not one that it can work with',
  ERR_REFUSED: 'the peer refused for a reason that this version does not know',
  ERR_RESERVED_TYPE: 'types that begin with "__" belong to the protocol',
  ERR_SLOW_CONSUMER: 'a subscription was not read fast enough and its queue was full',
  ERR_STREAM_ENDED: 'a stream ended before everything that was asked for had come or gone',
  ERR_TIMED_OUT: 'the peer was silent for too long',
  ERR_TOPIC_MISMATCH: 'the name of an event is not the topic of the envelope it carries',
} as const;

/** A code that this package raises by itself, or one that came from the engine or a peer. */
export type ErrorCode = keyof typeof errorCodes | (string & {});

/** What an error may tell besides its code and its message. */
export interface PubSubErrorOptions {
  /** The error or thrown value behind it. */
  readonly cause?: unknown;
  /**
   * How many events were lost that this error stands for; of an error that costs none, how often it happened until it was told. This one
   * included. Left out by errors that are thrown, reject a promise or end a target.
   */
  readonly dropped?: number;
}

/** What this package throws, rejects with and reports; compare `code`, not the message. */
export class PubSubError extends Error {
  override readonly name: string = 'PubSubError';
  /** What went wrong; docs/errors.md lists them all, with remedies. */
  readonly code: ErrorCode;
  /** How many events were lost, or how often it happened; see {@link PubSubErrorOptions}. */
  readonly dropped: number | undefined;

  constructor(code: ErrorCode, message: string, options: PubSubErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.dropped = options.dropped;
  }
}

/** Ends a subscription whose queue was full: what had been queued was delivered before. */
export class SlowConsumerError extends PubSubError {
  override readonly name: string = 'SlowConsumerError';

  constructor(topic: string, maxQueued: number) {
    const remedy = 'read faster, raise maxQueued, or choose overflow "drop-oldest" or "drop-newest"';
    super(
      'ERR_SLOW_CONSUMER',
      `subscription to "${topic}" had ${maxQueued} unread events and one more came; ${remedy}`,
    );
  }
}

/** Ends a subscription made with `gap: "throw"`: what came before the gap was delivered before. */
export class GapError<TGap = unknown> extends PubSubError {
  override readonly name: string = 'GapError';
  /** What is known about the gap. */
  readonly gap: TGap;

  constructor(topic: string, gap: TGap) {
    super('ERR_GAP', `events of "${topic}" may have been missed; read "gap" for when and why, then subscribe again`);
    this.gap = gap;
  }
}

/** A payload that does not match the schema of its type. The message names places and no values: it may go to a log. */
export class InvalidPayloadError extends PubSubError {
  override readonly name: string = 'InvalidPayloadError';
  /** What the schema says; empty when it threw, see `cause`. */
  readonly issues: readonly StandardIssue[];

  constructor(topic: string, issues: readonly StandardIssue[], options: PubSubErrorOptions = {}) {
    const where = placesOf(issues);
    const more =
      options.dropped === undefined ? '' : `, and was skipped (${options.dropped} since the last such error)`;
    const message = `a payload of "${topic}" does not match the schema of its type${where}${more}; read "issues" for what is wrong`;
    super('ERR_INVALID_PAYLOAD', message, options);
    this.issues = issues;
  }
}

/** Places named by an error message: a payload may be wrong in a thousand. */
const MAX_PLACES = 3;

function placesOf(issues: readonly StandardIssue[]): string {
  const places = issues
    .map(({ path = [] }) => path.map((step) => String(typeof step === 'object' ? step.key : step)).join('.'))
    .filter((place) => place !== '');
  const named = [...new Set(places)].slice(0, MAX_PLACES);
  return named.length === 0 ? '' : ` at ${named.map((place) => `"${place}"`).join(', ')}`;
}

/** A `TypeError` with a code, for what the caller can only cure in the source. */
export function typeError(code: ErrorCode, message: string, cause?: unknown): TypeError & { readonly code: ErrorCode } {
  const error = cause === undefined ? new TypeError(message) : new TypeError(message, { cause });
  return Object.assign(error, { code });
}

/** A `RangeError` with a code, for a number that nothing can be done with. */
export function rangeError(message: string): RangeError & { readonly code: ErrorCode } {
  return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' });
}

/** Reports what a listener or callback threw as uncaught, in a later microtask, so that the others still run. */
export function reportUncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

/** Calls what a user gave us to be told by; what it throws is reported as uncaught and stops nothing of ours. */
export function callBack(act: () => void): void {
  try {
    act();
  } catch (error) {
    reportUncaught(error);
  }
}
