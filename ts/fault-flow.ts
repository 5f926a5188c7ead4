// One direction of one connection through the fault proxy: takes bytes from a socket and hands them to the other one, now or later.
// Does not open or close connections, and does not decide what goes wrong: the proxy does, by the rules that all its flows share.
// Invariants: bytes leave in the order in which they came; at most MAX_HELD_BYTES and one read wait here, then the source is not read,
// so that TCP slows its sender down; a stalled flow neither reads nor writes.

import type { Socket } from 'node:net';
import { clearTimeout, setTimeout } from 'node:timers';

/** Bytes that wait in one direction of a connection before its source is no longer read. Source: none, a guess. */
const MAX_HELD_BYTES: number = 1 << 20;

/** A throttled flow writes what this time allows at once, in milliseconds: smaller steps are lost in the timer's own error. */
const STEP_MS = 10;
/** A throttled flow that was late makes up for so much, in milliseconds; for the rest it was simply idle. */
const MAX_CATCH_UP_MS = 100;

/** What one direction does to bytes; one object for all connections of a proxy. */
export interface FlowRules {
  isStalled: boolean;
  delayMs: number;
  jitterMs: number;
  /** Infinity: as fast as it goes. */
  bytesPerSecond: number;
}

export interface FlowCounters {
  passed: number;
  /** Came behind the end: after a half-close. */
  discarded: number;
}

interface Piece {
  /** Nothing: the end of the stream. */
  bytes: Uint8Array | undefined;
  readonly dueAt: number;
}

export class Flow {
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #rules: FlowRules;
  readonly #counters: FlowCounters;
  /** Gives a number from 0 up to 1. */
  readonly #roll: () => number;
  readonly #waiting: Piece[] = [];
  #held = 0;
  #isSinkFull = false;
  #isEnded = false;
  #lastDue = 0;
  /** When a throttled flow may write again. */
  #freeAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(source: Socket, sink: Socket, rules: FlowRules, counters: FlowCounters, roll: () => number) {
    this.#source = source;
    this.#sink = sink;
    this.#rules = rules;
    this.#counters = counters;
    this.#roll = roll;
    source.on('data', (bytes: Uint8Array) => this.#take(bytes));
    source.on('end', () => this.#take(undefined));
    sink.on('drain', () => {
      this.#isSinkFull = false;
      this.proceed();
    });
    this.proceed();
  }

  /** Bytes that were read and not yet written. */
  get held(): number {
    return this.#held;
  }

  /** Ends the stream behind what waits; what comes afterwards is read and dropped. */
  halfClose(): void {
    if (this.#isEnded) return;
    this.#take(undefined);
    this.#isEnded = true;
  }

  /** Writes what is due and reads on if there is room; to be called when the rules have changed. */
  proceed(): void {
    clearTimeout(this.#timer);
    this.#release();
    if (this.#mayRead) this.#source.resume();
    else this.#source.pause();
  }

  /** Forgets what waits: the connection is over, and what its sockets say of their own end does not pass any more. */
  drop(): void {
    clearTimeout(this.#timer);
    this.#isEnded = true;
    this.#waiting.length = 0;
    this.#held = 0;
  }

  get #mayRead(): boolean {
    return !this.#rules.isStalled && !this.#isSinkFull && this.#held < MAX_HELD_BYTES;
  }

  #take(bytes: Uint8Array | undefined): void {
    if (this.#isEnded) {
      this.#counters.discarded += bytes?.length ?? 0;
      return;
    }
    const { delayMs, jitterMs } = this.#rules;
    const dueAt = delayMs + jitterMs === 0 ? 0 : performance.now() + delayMs + jitterMs * this.#roll();
    // Jitter must not let one piece overtake another.
    this.#lastDue = Math.max(this.#lastDue, dueAt);
    this.#waiting.push({ bytes, dueAt: this.#lastDue });
    this.#held += bytes?.length ?? 0;
    this.proceed();
  }

  #release(): void {
    const isUndelayed = this.#rules.delayMs + this.#rules.jitterMs === 0;
    while (!this.#rules.isStalled && !this.#isSinkFull) {
      const [first] = this.#waiting;
      if (first === undefined) return;
      const now = performance.now();
      const waitMs = Math.max(isUndelayed ? 0 : first.dueAt - now, this.#freeAt - now);
      if (waitMs > 0) return this.#wakeIn(waitMs);
      this.#write(first, now);
    }
  }

  #write(piece: Piece, now: number): void {
    const { bytes } = piece;
    const length = bytes === undefined ? 0 : this.#allowed(bytes.length, now);
    if (bytes === undefined || length === bytes.length) this.#waiting.shift();
    else piece.bytes = bytes.subarray(length);
    this.#held -= length;
    this.#counters.passed += length;
    if (this.#sink.destroyed || this.#sink.writableEnded) return;
    if (bytes === undefined) this.#sink.end();
    else this.#isSinkFull = !this.#sink.write(bytes.subarray(0, length));
  }

  /** How many of so many bytes may go now; keeps the time of the next ones. */
  #allowed(length: number, now: number): number {
    const { bytesPerSecond } = this.#rules;
    if (bytesPerSecond === Number.POSITIVE_INFINITY) return length;
    const allowed = Math.min(length, Math.max(1, Math.round((bytesPerSecond * STEP_MS) / 1000)));
    this.#freeAt = Math.max(this.#freeAt, now - MAX_CATCH_UP_MS) + (allowed * 1000) / bytesPerSecond;
    return allowed;
  }

  #wakeIn(ms: number): void {
    // The sockets keep the process alive, as far as it should be kept.
    this.#timer = setTimeout(() => this.proceed(), Math.ceil(ms)).unref();
  }
}
