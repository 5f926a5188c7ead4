// What stands between a link, what a hub says on it, and whose it is. Types only.

import type { ErrorCode } from '../errors.js';
import type { EventEnvelope, GapDetail } from '../types.js';
import type { Subscriptions } from './subscriptions.js';

/** The part of the standard `WebSocket` that is needed. */
export interface WebSocketLike {
  readonly readyState: number;
  readonly bufferedAmount: number;
  send(data: string): void;
  // `object`: the DOM, `ws` and Bun each have event types of their own.
  addEventListener(type: WebSocketEventName, listener: (event: object) => void): void;
  removeEventListener(type: WebSocketEventName, listener: (event: object) => void): void;
}

export type WebSocketEventName = 'open' | 'message' | 'close' | 'error';

export interface SessionOptions {
  readonly maxMalformed: number;
  readonly maxTopicBytes: number;
  readonly peer: 'auto' | 'native' | 'plain';
  readonly helloTimeoutMs: number;
  readonly handshakeMs: number;
  readonly heartbeatMs: number;
  readonly maxMessageBytes: number;
}

/** How a link ended. */
export interface SessionEnd {
  readonly code: number;
  readonly reason: string;
  readonly errorCode: ErrorCode;
  readonly message: string;
  readonly cause?: unknown;
  readonly wasOpen: boolean;
  readonly wasAdmitted: boolean;
  /** When something came last, milliseconds since the epoch. */
  readonly heardUntil: number;
  /** Events were handed to the socket since the hub last proved that it received. */
  readonly isUnproven: boolean;
  readonly lastedMs: number;
}

/** Counters of a spoke; those of the engine that a spoke over a WebSocket object can know. */
interface Counters {
  sent: number;
  received: number;
  unwanted: number;
  refused: number;
  malformed: number;
  ignoredControls: number;
}

/** Whose link it is. */
export interface SessionHost {
  readonly subscriptions: Subscriptions;
  readonly counters: Counters;
  /** The socket is open, hello and topics are written. */
  begun(): void;
  admitted(native: boolean): void;
  upgraded(): void;
  heard(topic: string, envelope: EventEnvelope, length: number): void;
  /** A topic is active, or refused. */
  settled(topic: string): void;
  missed(gap: GapDetail): void;
  raise(code: ErrorCode, message: string, times?: number): void;
  ended(end: SessionEnd): void;
}
