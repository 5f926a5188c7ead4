// Merges storms of errors: one per code and interval, with how many it stands for. The engine has the same in engine/src/meter.rs.
// Does not decide what an error is.
// Invariant: every error that was raised is told at the latest with `rest`, as one of `dropped`.

import { type ErrorCode, PubSubError } from '../errors.js';
import { later, type Timer } from './timer.js';

/** Milliseconds in which errors of one code are merged. Source: contract section 2. */
const INTERVAL_MS = 100;

/** The same for messages that are no envelopes. Source: contract section 1, "at most one per link and second". */
const MALFORMED_INTERVAL_MS = 1000;

interface Storm {
  untold: number;
  message: string;
  readonly timer: Timer;
}

export class Meter {
  readonly #tell: (error: PubSubError) => void;
  readonly #storms = new Map<ErrorCode, Storm>();

  constructor(tell: (error: PubSubError) => void) {
    this.#tell = tell;
  }

  /** An error happened `times` times. */
  raise(code: ErrorCode, message: string, times = 1): void {
    const storm = this.#storms.get(code);
    if (storm === undefined) return this.#begin(code, message, times);
    storm.untold += times;
    storm.message = message;
  }

  /** Tells what was not told yet. */
  rest(): void {
    for (const [code, storm] of [...this.#storms]) {
      clearTimeout(storm.timer);
      this.#storms.delete(code);
      this.#say(code, storm.message, storm.untold);
    }
  }

  #begin(code: ErrorCode, message: string, times: number): void {
    const interval = code === 'ERR_MALFORMED' ? MALFORMED_INTERVAL_MS : INTERVAL_MS;
    this.#storms.set(code, { untold: 0, message, timer: later(interval, () => this.#due(code)) });
    this.#say(code, message, times);
  }

  #due(code: ErrorCode): void {
    const storm = this.#storms.get(code);
    this.#storms.delete(code);
    if (storm !== undefined && storm.untold > 0) this.#begin(code, storm.message, storm.untold);
  }

  #say(code: ErrorCode, message: string, times: number): void {
    if (times > 0) this.#tell(new PubSubError(code, message, { dropped: times }));
  }
}
