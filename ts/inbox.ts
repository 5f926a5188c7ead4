// Takes batches from a native target and hands their entries on, one by one and in order.
// Does not know listeners, and not what a notice means.
// Invariants: one capped batch per turn of the event loop, so that a flood starves nobody; one JSON.parse per batch; an entry
// that cannot be read costs itself alone.

import { setImmediate } from 'node:timers';
import type { NativePort, Notice } from './port.js';
import { MAX_BATCH, MAX_PAIRS, META_ENTRY, META_HEAD } from './port.js';

interface Sink {
  event(topic: string, type: string, id: string, payload: unknown, connection: number): void;
  notice(notice: Notice): void;
  /** `count` entries could not be read. */
  malformed(count: number, cause: unknown): void;
}

/** A (type, id) pair as the engine named it once; its topic is joined once, too. */
interface Pair {
  readonly topic: string;
  readonly type: string;
  readonly id: string;
}

/** A pair's first delivery in its slot: the value is `[type, id, payload]`. */
const FIRST_SEEN = 0x80000000;
const SLOT_MASK = MAX_PAIRS - 1;

/** Stands where a value could not be parsed. */
const UNREADABLE: unique symbol = Symbol('unreadable');

export class Inbox {
  readonly #port: Pick<NativePort, 'attach' | 'take'>;
  readonly #sink: Sink;
  /** Ours for good: a typed array per batch would cost more than the batch. */
  readonly #meta = new Uint32Array(META_HEAD + MAX_BATCH * META_ENTRY);
  readonly #slots: (Pair | undefined)[] = new Array<Pair | undefined>(MAX_PAIRS).fill(undefined);

  constructor(port: Pick<NativePort, 'attach' | 'take'>, sink: Sink) {
    this.#port = port;
    this.#sink = sink;
  }

  /** Deliveries begin in a later turn, when the first entry has come. */
  open(): void {
    const wake = this.#wake;
    // The addon holds this for as long as its half of the target lives, which the target holds: neither would ever go.
    this.#port.attach(() => wake.up());
  }

  /** Nothing comes any more. */
  close(): void {
    this.#wake.up = () => {};
  }

  readonly #wake = { up: () => this.#tick() };

  readonly #tick = (): void => {
    const text = this.#port.take(this.#meta);
    // Asked for before delivery, so that whatever a listener does cannot stop the rest from being taken.
    if (this.#meta[1] === 1) setImmediate(this.#tick);
    if (this.#meta[0] !== 0) this.#deliver(text);
  };

  #deliver(text: string): void {
    const count = this.#meta[0] as number;
    const values = this.#parse(text, count);
    for (let i = 0, at = META_HEAD; i < count; i++, at += META_ENTRY) {
      const value = values[i];
      const pair = this.#meta[at] as number;
      if (pair === 0) this.#notice(value);
      else this.#event(pair, value, this.#meta[at + 2] as number);
    }
  }

  #notice(value: unknown): void {
    if (value !== UNREADABLE) this.#sink.notice(value as Notice);
  }

  #event(pair: number, value: unknown, connection: number): void {
    const slot = pair & SLOT_MASK;
    if (pair >= FIRST_SEEN) {
      value = this.#learn(slot, value);
    }
    const known = this.#slots[slot];
    if (known === undefined || value === UNREADABLE) return;
    this.#sink.event(known.topic, known.type, known.id, value, connection);
  }

  /** Puts a pair into its slot and returns the payload that came with it. */
  #learn(slot: number, value: unknown): unknown {
    if (value === UNREADABLE) {
      this.#slots[slot] = undefined;
      return value;
    }
    const [type, id, payload] = value as [string, string, unknown];
    this.#slots[slot] = { topic: `${type}:${id}`, type, id };
    return payload;
  }

  #parse(text: string, count: number): readonly unknown[] {
    try {
      const values: unknown = JSON.parse(text);
      if (Array.isArray(values) && values.length === count) return values;
    } catch {
      // Told below, for the entry that is to blame.
    }
    return this.#parseEach(text, count);
  }

  /** The same text cut by the engine's lengths, never by what the text itself says. */
  #parseEach(text: string, count: number): readonly unknown[] {
    const values: unknown[] = [];
    let unreadable = 0;
    let cause: unknown;
    for (let i = 0, start = 1; i < count; i++) {
      const end = start + (this.#meta[META_HEAD + i * META_ENTRY + 1] as number);
      try {
        values.push(JSON.parse(text.substring(start, end)));
      } catch (error) {
        values.push(UNREADABLE);
        unreadable++;
        cause = error;
      }
      start = end + 1;
    }
    if (unreadable > 0) this.#sink.malformed(unreadable, cause);
    return values;
  }
}
