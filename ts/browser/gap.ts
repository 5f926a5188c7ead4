// A hole in the stream, from the moment the link was lost until every topic of it is active again. The engine's is engine/src/spoke/gap.rs.
// Does not read the clock and tells nobody.
// Invariant: events of the new link wait here until the gap was told, so it stands where it belongs.

import type { EventEnvelope, GapDetail } from '../types.js';

/** Characters of a new link's events that wait for the gap to be told. Source: none, a guess: what the engine lets wait, in bytes. */
const MAX_DETAINED_LENGTH = 4_194_304;

export class OpenGap {
  readonly #cause: GapDetail['cause'];
  readonly #from: number;
  readonly #topics: Set<string>;
  #isOut: boolean;
  /** False as long as only events of ours can be missing. */
  #isIn: boolean;
  #missing: Set<string>;
  #detained: EventEnvelope[] = [];
  #detainedLength = 0;
  /** Events of links that came and went meanwhile: delivered behind the gap, they would hide the hole that followed them. */
  #dropped = 0;

  /** `topics` were active, `isOut` says that events may not have reached the hub. */
  constructor(cause: GapDetail['cause'], from: number, topics: readonly string[], isOut: boolean) {
    this.#cause = cause;
    this.#from = from;
    this.#topics = new Set(topics);
    this.#missing = new Set(topics);
    this.#isIn = topics.length > 0;
    this.#isOut = isOut;
  }

  /** The link was lost again before the gap was over: what had become active meanwhile is missing too. */
  prolong(topics: readonly string[], isOut: boolean): void {
    for (const topic of topics) this.#topics.add(topic);
    this.#missing = new Set(this.#topics);
    this.#isIn ||= topics.length > 0;
    this.#isOut ||= isOut;
    this.#dropped += this.#detained.length;
    this.#detained = [];
    this.#detainedLength = 0;
  }

  /** A topic is active again, or refused. */
  settle(topic: string): void {
    this.#missing.delete(topic);
  }

  /** A topic has lost its last listener. */
  dropTopic(topic: string): void {
    this.#missing.delete(topic);
    this.#topics.delete(topic);
  }

  /** True when every topic is active again, or when no more can be kept waiting. */
  get isOver(): boolean {
    return this.#missing.size === 0 || this.#detainedLength > MAX_DETAINED_LENGTH;
  }

  /** Keeps an event of the new link, whose message was so long. */
  detain(envelope: EventEnvelope, length: number): void {
    this.#detained.push(envelope);
    this.#detainedLength += length;
  }

  /** The events that came behind it. */
  get detained(): readonly EventEnvelope[] {
    return this.#detained;
  }

  /** The gap as it is told. */
  detail(to: number): GapDetail {
    const direction = !this.#isOut ? 'in' : this.#isIn ? 'both' : 'out';
    const known = this.#dropped > 0 ? { dropped: this.#dropped } : {};
    return { cause: this.#cause, direction, from: this.#from, to, topics: [...this.#topics], ...known };
  }
}
