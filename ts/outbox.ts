// Checks an event, makes JSON of its payload and hands both to a native target; remembers the pairs that come often.
// Does not queue anything: queues are the engine's.
// Invariants: an event that passed is exactly one envelope with one JSON payload; at most 4096 pairs are remembered, however
// many ids go by.

import { PubSubError, typeError } from './errors.js';
import { ACCEPTED, MAX_PAIRS, STALE, TOO_LARGE } from './port.js';
import { checkEvent } from './topic.js';
import type { EventEnvelope } from './types.js';

/** The way out: a native target, or one connection of a hub. */
export interface Exit {
  publish(pair: number, json: string): number;
  publishOnce(type: string, id: string, json: string): number;
}

/** A pair that has passed the checks; `number` is the engine's name for it. */
interface Pair {
  readonly type: string;
  readonly id: string;
  number: number;
}

/** Seen once: a request's id never comes again, and naming it would cost more than it saves. */
const UNNAMED = -1;

export class Outbox {
  readonly #intern: (type: string, id: string) => number;
  /** Two generations: when the young one is full the old one goes, and what is still used moves to the young one. */
  #young = new Map<string, Pair>();
  #old = new Map<string, Pair>();

  constructor(intern: (type: string, id: string) => number) {
    this.#intern = intern;
  }

  /**
   * Sends the event and returns its payload as JSON, or nothing when the engine refused it for want of room or because it is
   * closed. Throws what contract section 2 calls misuse.
   */
  send(event: Event, exit: Exit): string | undefined {
    const topic = event.type;
    const envelope = (event as CustomEvent<EventEnvelope>).detail;
    const known = this.#find(topic, envelope);
    const pair = known ?? this.#meet(topic, envelope);
    const json = stringify(envelope.payload, topic);
    if (known !== undefined && known.number === UNNAMED) this.#name(known);
    const status = this.#publish(pair, json, exit);
    if (status === TOO_LARGE) throw tooLarge(topic, json);
    return status === ACCEPTED ? json : undefined;
  }

  #publish(pair: Pair, json: string, exit: Exit): number {
    if (pair.number === UNNAMED) return exit.publishOnce(pair.type, pair.id, json);
    const status = exit.publish(pair.number, json);
    if (status !== STALE) return status;
    this.#name(pair);
    return exit.publish(pair.number, json);
  }

  #name(pair: Pair): void {
    pair.number = this.#intern(pair.type, pair.id);
  }

  /** A topic can stand for several pairs, ("a","b:c") and ("a:b","c"): the last one seen is remembered. */
  #find(topic: string, envelope: EventEnvelope | null | undefined): Pair | undefined {
    const pair = this.#young.get(topic) ?? this.#rejuvenate(topic);
    return pair !== undefined && pair.type === envelope?.type && pair.id === envelope.id ? pair : undefined;
  }

  #rejuvenate(topic: string): Pair | undefined {
    const pair = this.#old.get(topic);
    if (pair !== undefined) this.#remember(topic, pair);
    return pair;
  }

  #meet(topic: string, envelope: unknown): Pair {
    checkEvent(topic, envelope);
    const pair = { type: envelope.type, id: envelope.id, number: UNNAMED };
    this.#remember(topic, pair);
    return pair;
  }

  #remember(topic: string, pair: Pair): void {
    if (this.#young.size >= MAX_PAIRS / 2) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(topic, pair);
  }
}

/** The payload as contract section 1 wants it: `undefined` is `null`, what has no JSON form is the caller's mistake. */
export function stringify(payload: unknown, topic: string): string {
  let json: string | undefined;
  try {
    json = JSON.stringify(payload);
  } catch (error) {
    throw notSerializable(topic, error instanceof Error ? error.message : String(error), error);
  }
  if (json !== undefined) return json;
  if (typeof payload === 'function' || typeof payload === 'symbol') throw notSerializable(topic, `it is a ${typeof payload}`);
  return 'null';
}

function notSerializable(topic: string, why: string, cause?: unknown): TypeError {
  return typeError('ERR_NOT_SERIALIZABLE', `the payload of "${topic}" has no JSON form: ${why}; send plain data`, cause);
}

function tooLarge(topic: string, json: string): PubSubError {
  const size = `its payload has ${json.length} characters`;
  return new PubSubError('ERR_MESSAGE_TOO_LARGE', `event "${topic}" is larger than this target carries (${size}); split it, or raise the limit on both sides`);
}
