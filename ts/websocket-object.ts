// A spoke over a WebSocket that the caller made and owns, in plain TypeScript: no addon, no Node built-ins, no reconnect.
// Reads its options; how it behaves is in browser/plain-spoke.ts. Does not open or close the socket: close() takes our listeners off it and takes
// back our subscriptions, nothing else.

import { defaults } from './browser/defaults.js';
import type { WebSocketLike } from './browser/link.js';
import { PlainSpoke } from './browser/plain-spoke.js';
import { closeOnAbort } from './life-cycle.js';
import { abortSignal, checkNames, type Kind, readAll } from './options.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';

export type { WebSocketLike } from './browser/link.js';

/** How a target over a WebSocket of yours behaves. */
export interface WebSocketObjectOptions {
  /** Closes the target, not the socket, when it is aborted. */
  readonly signal?: AbortSignal;
  /** What to expect of the hub: "plain" sends no hello, "native" fails without an answer to it. Default "auto". */
  readonly peer?: 'auto' | 'native' | 'plain';
  /** Milliseconds after which a hub that has not said hello counts as plain. Default 2000. */
  readonly helloTimeoutMs?: number;
  /** Characters that may be queued while the socket is connecting. Default 1 048 576. */
  readonly maxBufferedAmount?: number;
  /** Bytes that may wait in the open socket. Default 64 MiB. */
  readonly maxPendingBytes?: number;
  /** Milliseconds between signs of life; a hub that is silent for two and a half of them is dead. Default 10 000. */
  readonly heartbeatMs?: number;
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean;
}

const kinds: Readonly<Record<string, Kind>> = {
  peer: ['auto', 'native', 'plain'],
  helloTimeoutMs: [1],
  maxBufferedAmount: [1],
  maxPendingBytes: [1],
  heartbeatMs: [1],
  echo: 'boolean',
};

export function isWebSocket(value: unknown): value is WebSocketLike {
  const { send, addEventListener } = Object(value) as Partial<WebSocketLike>;
  return typeof send === 'function' && typeof addEventListener === 'function';
}

/** Makes a spoke over an open or connecting WebSocket. */
export function overWebSocket<TEvent extends TypedEvent = AnyEvent>(
  socket: WebSocketLike,
  options: WebSocketObjectOptions = {},
): NativeTarget<TEvent> {
  checkNames(options, ['signal', ...Object.keys(kinds)]);
  const signal = abortSignal('signal', options.signal);
  const target = new PlainSpoke({ owned: socket }, { ...defaults, ...unbounded, ...readAll(options, kinds) });
  if (signal !== undefined) closeOnAbort(target, signal);
  return target;
}

/** What the owner of a socket decides, and no option of ours. */
const unbounded = {
  handshakeMs: Number.POSITIVE_INFINITY,
  maxMessageBytes: Number.POSITIVE_INFINITY,
  maxTopicBytes: Number.POSITIVE_INFINITY,
  maxMalformed: Number.POSITIVE_INFINITY,
  queueMaxAgeMs: Number.POSITIVE_INFINITY,
  reconnect: false,
};
