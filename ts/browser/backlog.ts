// Events that wait for a link: bounded by length and age. Does not send.
// Invariants: first in, first out; `length` is that of the texts in it.

import { later, type Timer } from './timer.js';

interface Waiting {
  readonly text: string;
  readonly since: number;
}

export class Backlog {
  readonly #maxAgeMs: number;
  readonly #onAged: (count: number) => void;
  #waiting: Waiting[] = [];
  #length = 0;
  #timer: Timer | undefined;

  /** `onAged`: so many waited longer than `maxAgeMs` and are gone. */
  constructor(maxAgeMs: number, onAged: (count: number) => void) {
    this.#maxAgeMs = maxAgeMs;
    this.#onAged = onAged;
  }

  /** How many events wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Characters that wait. */
  get length(): number {
    return this.#length;
  }

  push(text: string): void {
    this.#waiting.push({ text, since: performance.now() });
    this.#length += text.length;
    this.#watch();
  }

  /** Everything that waits; nothing does afterwards. */
  take(): string[] {
    this.#age();
    const texts = this.#waiting.map(({ text }) => text);
    this.clear();
    return texts;
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#waiting = [];
    this.#length = 0;
  }

  #watch(): void {
    const oldest = this.#waiting[0];
    if (oldest === undefined || this.#timer !== undefined || this.#maxAgeMs === Number.POSITIVE_INFINITY) return;
    this.#timer = later(oldest.since + this.#maxAgeMs - performance.now() + 1, () => {
      this.#timer = undefined;
      this.#age();
      this.#watch();
    });
  }

  #age(): void {
    const limit = performance.now() - this.#maxAgeMs;
    const kept = this.#waiting.findIndex(({ since }) => since >= limit);
    const aged = this.#waiting.splice(0, kept === -1 ? this.#waiting.length : kept);
    for (const { text } of aged) this.#length -= text.length;
    if (aged.length > 0) this.#onAged(aged.length);
  }
}
