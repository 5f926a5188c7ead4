// Checks an event, makes JSON of its payload and hands both to a native target; remembers the pairs that come often.
// Does not queue anything: queues are the engine's.
// Invariants: an event that passed is exactly one envelope with one JSON payload; at most 4096 pairs are remembered, however
// many ids go by.

import { PubSubError, typeError } from './errors.js';
import { ACCEPTED, MAX_PAIRS, STALE, TOO_LARGE } from './port.js';
import { checkEvent } from './topic.js';
import type { Outgoing } from './transport-target.js';
import type { EventEnvelope } from './types.js';

/** The way out: a native target, or one connection of a hub. */
export interface Exit {
  publish(pair: number, json: string): number;
  publishOnce(type: string, id: string, json: string): number;
}

/** A pair that has passed the checks, and the engine's name for it. */
interface Pair {
  readonly type: string;
  readonly id: string;
  number: number;
}

/** Topics that were seen once are looked for among this many. A power of two. */
const SEEN_SLOTS = 1024;

export class Outbox {
  readonly #intern: (type: string, id: string) => number;
  /** Two generations: when the young one is full the old one goes, and what is still used moves to the young one. */
  #young = new Map<string, Pair>();
  #old = new Map<string, Pair>();
  /**
   * The last topic that was seen in each slot. A pair gets a number when its topic is seen again: the ids of requests never are,
   * and numbering them would cost more than it saves.
   */
  readonly #seen: string[] = new Array<string>(SEEN_SLOTS).fill('');

  constructor(intern: (type: string, id: string) => number) {
    this.#intern = intern;
  }

  /**
   * Sends the event and returns its payload as JSON, or nothing when the engine refused it for want of room or because it is
   * closed. Throws what contract section 2 calls misuse.
   */
  send(event: Outgoing, exit: Exit): string | undefined {
    const topic = event.type;
    const envelope = event.detail as EventEnvelope;
    const known = this.#find(topic);
    const isKnown = known !== undefined && known.type === envelope?.type && known.id === envelope.id;
    if (!isKnown) checkEvent(topic, envelope);
    const json = stringify(envelope.payload, topic);
    const pair = isKnown ? known : this.#meet(topic, envelope, known);
    const status =
      pair === undefined ? exit.publishOnce(envelope.type, envelope.id, json) : this.#publish(pair, json, exit);
    if (status === TOO_LARGE) throw tooLarge(topic, json);
    return status === ACCEPTED ? json : undefined;
  }

  #publish(pair: Pair, json: string, exit: Exit): number {
    const status = exit.publish(pair.number, json);
    if (status !== STALE) return status;
    pair.number = this.#intern(pair.type, pair.id);
    return exit.publish(pair.number, json);
  }

  #find(topic: string): Pair | undefined {
    const pair = this.#young.get(topic);
    if (pair !== undefined || this.#old.size === 0) return pair;
    const aged = this.#old.get(topic);
    if (aged !== undefined) this.#remember(topic, aged);
    return aged;
  }

  /** Numbers a pair whose topic was seen before. A topic of two pairs, ("a","b:c") and ("a:b","c"), stays with its first. */
  #meet(topic: string, { type, id }: EventEnvelope, rival: Pair | undefined): Pair | undefined {
    const slot = slotOf(topic);
    if (rival !== undefined || this.#seen[slot] !== topic) {
      this.#seen[slot] = topic;
      return undefined;
    }
    const pair = { type, id, number: this.#intern(type, id) };
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

/** A cheap hash: ids differ in their last characters. */
function slotOf(topic: string): number {
  let hash = topic.length;
  for (let i = Math.max(0, topic.length - 6); i < topic.length; i++) hash = (hash * 31 + topic.charCodeAt(i)) | 0;
  return hash & (SEEN_SLOTS - 1);
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
  if (typeof payload === 'function' || typeof payload === 'symbol')
    throw notSerializable(topic, `it is a ${typeof payload}`);
  return 'null';
}

function notSerializable(topic: string, why: string, cause?: unknown): TypeError {
  return typeError(
    'ERR_NOT_SERIALIZABLE',
    `the payload of "${topic}" has no JSON form: ${why}; send plain data`,
    cause,
  );
}

/** What `dispatchEvent` throws for an event above the limits of the target. */
export function tooLarge(topic: string, json: string): PubSubError {
  const size = `its payload has ${json.length} characters`;
  return new PubSubError(
    'ERR_MESSAGE_TOO_LARGE',
    `event "${topic}" is larger than this target carries (${size}, its topic ${topic.length}); make it smaller, or raise maxMessageBytes or maxTopicBytes on both sides`,
  );
}
