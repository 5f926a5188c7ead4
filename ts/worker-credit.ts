// The credit that a worker target owes the other end: what was taken of its events and not yet said.
// Does not know the window, which is the sender's.

import { type Credit, control, type Message } from './worker-message.js';

/** Credit of this much is given at once, less of it behind the turn. A guess: a quarter of the window. */
const CREDIT: number = 262_144;

const nothing: Credit = { bytes: 0, events: 0 };

export class OwedCredit {
  readonly #post: (message: Message) => void;
  #owed = nothing;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(post: (message: Message) => void) {
    this.#post = post;
  }

  /** An event was taken: its sender may post as much again. */
  add(cost: number): void {
    this.#owed = { bytes: this.#owed.bytes + cost, events: this.#owed.events + 1 };
    if (this.#owed.bytes >= CREDIT) this.send();
    else this.#timer ??= setTimeout(() => this.send(), 0);
  }

  send(): void {
    const credit = this.take();
    if (credit !== undefined) this.#post(control('__credit', credit));
  }

  /** For an event that goes the other way and can carry it; undefined when nothing is owed. */
  take(): Credit | undefined {
    if (this.#owed === nothing) return undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const owed = this.#owed;
    this.#owed = nothing;
    return owed;
  }
}
