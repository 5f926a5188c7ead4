// Whether the other end of a link is alive, asked with timers alone. Does not send anything and does not end links.
// Invariants: time in which this thread was blocked is nobody's silence; a stopped heartbeat leaves no timer behind and none holds the
// process.

export interface HeartbeatEvents {
  /** Whether the other end has taken something since this was asked last. */
  isTaking(): boolean;
  /** Nothing came for an interval. */
  onSilence(): void;
  /** Nothing came for two and a half. */
  onDeath(): void;
}

/** Looks per interval. */
const LOOKS = 4;

/** Intervals without a byte after which the other end is dead. Source: contract section 4, `heartbeatMs`. */
const DEAD_AFTER = 2.5;

export class Heartbeat {
  readonly #intervalMs: number;
  readonly #events: HeartbeatEvents;
  #timer: ReturnType<typeof setInterval> | undefined;
  #heardAt = 0;
  #askedAt = 0;
  #lookedAt = 0;

  constructor(intervalMs: number, events: HeartbeatEvents) {
    this.#intervalMs = intervalMs;
    this.#events = events;
  }

  start(): void {
    if (this.#timer !== undefined) return;
    this.#heardAt = this.#askedAt = this.#lookedAt = performance.now();
    this.#timer = setInterval(() => this.#look(performance.now()), this.#intervalMs / LOOKS);
    (this.#timer as { unref?(): void }).unref?.();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Something came. */
  heard(): void {
    this.#heardAt = performance.now();
  }

  #look(now: number): void {
    // A look that comes much too late finds timers before what has arrived meanwhile.
    if (now - this.#lookedAt > (2 * this.#intervalMs) / LOOKS) this.#heardAt = now;
    this.#lookedAt = now;
    if (this.#events.isTaking()) this.#heardAt = now;
    const silence = now - this.#heardAt;
    if (silence > DEAD_AFTER * this.#intervalMs) return this.#events.onDeath();
    if (silence < this.#intervalMs || now - this.#askedAt < this.#intervalMs) return;
    this.#askedAt = now;
    this.#events.onSilence();
  }
}
