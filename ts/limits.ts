// The options that hubs and spokes have in common, and how they become the engine's.
// Does not know defaults; the figures in the comments are the engine's, and a test compares them.

import { checkNames, type Kind, readAll } from './options.js';
import type { NativeLimits } from './port.js';

/** What one peer may cost. */
export interface Limits {
  /** Largest message in bytes, both ways. Default 1 MiB, at most 64 MiB. */
  readonly maxMessageBytes?: number;
  /** Longest topic in bytes of UTF-8. Default 1024. */
  readonly maxTopicBytes?: number;
  /** Milliseconds until a connection must be admitted. Default 10 000. */
  readonly handshakeMs?: number;
  /** Milliseconds between pings; a peer that is silent for two and a half of them is dead. Default 10 000. */
  readonly heartbeatMs?: number;
  /** Malformed messages per minute before a link is closed with 1008. Default 100. */
  readonly maxMalformed?: number;
}

/** Bounds of the queues of a target. */
export interface QueueOptions {
  /** Bytes that may wait for one connection (a spoke: while it is down). Default 1 048 576. */
  readonly maxBufferedAmount?: number;
  /** Bytes dispatched and not yet handed to a connection. Default 64 MiB. */
  readonly maxPendingBytes?: number;
}

/** No option raises `maxMessageBytes` above this. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

const limits: Readonly<Record<keyof Limits, Kind>> = {
  maxMessageBytes: [1, MAX_MESSAGE_BYTES],
  maxTopicBytes: [1],
  handshakeMs: [1],
  heartbeatMs: [1],
  maxMalformed: [0],
};

export const limitNames: readonly string[] = Object.keys(limits);

export function readLimits(options: Limits): NativeLimits {
  return readAll(options, limits);
}

export function readQueues(options: QueueOptions): NativeLimits {
  return readAll(options, { maxBufferedAmount: [1], maxPendingBytes: [1] });
}

/** The group `limits`, whose names are `known`. */
export function checkLimits(limits: unknown, known: readonly string[]): void {
  if (limits !== undefined) checkNames(limits, known, 'limits');
}
