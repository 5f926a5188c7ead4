// Whether the other end of a link is alive, asked with timers alone. Does not send anything and does not end links.
// Invariants: time in which this thread was blocked or suspended is nobody's silence; a stopped heartbeat leaves no timer behind and none
// holds the process.

interface HeartbeatEvents {
  /** Whether the other end has taken something since this was asked last. */
  isTaking(): boolean;
  /** Nothing came for an interval, or an answer is owed, or we have just woken: ask. */
  onSilence(): void;
  /** Nothing came for two and a half. */
  onDeath(): void;
  /** Whether the other end has not yet proven what it received. */
  isOwed?(): boolean;
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
  /** We woke, asked, and nothing has come since. */
  #isDoubted = false;
  #heardUntil = Date.now();
  /** We slept, and what is heard now may be older than what was lost meanwhile: until an answer comes. */
  #hasSlept = false;

  constructor(intervalMs: number, events: HeartbeatEvents) {
    this.#intervalMs = intervalMs;
    this.#events = events;
  }

  /** When something was heard last and nothing can have been lost before; milliseconds since the epoch. */
  get heardUntil(): number {
    return this.#heardUntil;
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
    this.#isDoubted = false;
    if (this.#timer !== undefined && this.#isLate(this.#heardAt)) this.#hasSlept = true;
    if (!this.#hasSlept) this.#heardUntil = Date.now();
  }

  /** The other end has answered. */
  answered(): void {
    this.#hasSlept = false;
    this.#heardUntil = Date.now();
  }

  #isLate(now: number): boolean {
    return now - this.#lookedAt > (2 * this.#intervalMs) / LOOKS;
  }

  #look(now: number): void {
    const isLate = this.#isLate(now);
    this.#lookedAt = now;
    if (isLate && !this.#isDoubted) return this.#wake(now);
    if (this.#events.isTaking()) this.#heardAt = now;
    const silence = now - this.#heardAt;
    if (silence > DEAD_AFTER * this.#intervalMs) return this.#events.onDeath();
    const isOwed = silence >= this.#intervalMs || this.#events.isOwed?.() === true;
    if (isOwed && now - this.#askedAt >= this.#intervalMs) this.#ask(now);
  }

  /**
   * A look that comes much too late finds its timer before what has arrived meanwhile. In a background tab, whose timers run once a minute,
   * each one is late: two in a row with nothing between them count.
   */
  #wake(now: number): void {
    this.#heardAt = now;
    this.#isDoubted = true;
    this.#hasSlept = true;
    this.#ask(now);
  }

  #ask(now: number): void {
    this.#askedAt = now;
    this.#events.onSilence();
  }
}
