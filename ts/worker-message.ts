// What two worker targets post to each other: envelopes as plain objects, with credit on them, and control events.

import { isEnvelope } from './topic.js';
import type { EventEnvelope } from './types.js';

/** So much of what the other end posted was taken. */
export interface Credit {
  /** Characters, with the overhead of each event. */
  readonly bytes: number;
  readonly events: number;
}

/** What is posted: an envelope; `_cost` of events comes back as credit, with an event of the other direction or by itself. */
export interface Message extends EventEnvelope {
  readonly _cost?: number;
  _credit?: Credit;
}

/** The payload of a control event, of which nothing is known yet. */
export type ControlPayload = Partial<Record<string, unknown>>;

export function control(type: string, payload: object): Message {
  return { type, id: '', payload };
}

export function isOurs(data: unknown): boolean {
  return isEnvelope(data) && data.type !== '';
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
