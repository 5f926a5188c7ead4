// Why a target that does not always hold the process holds it now: it has listeners, or something it was asked for is under way.
// Does not know how a process is held.
// Invariant: `hold` and `release` alternate; a target that was `unref`ed or has ended holds nothing.

export class Stake {
  readonly #hold: () => void;
  readonly #release: () => void;
  #reasons = 0;
  #isRef = true;
  #isHeld = false;

  constructor(hold: () => void, release: () => void) {
    this.#hold = hold;
    this.#release = release;
  }

  /** One reason more. */
  add(): void {
    this.#reasons++;
    this.#settle();
  }

  /** One of them is gone. */
  remove(): void {
    this.#reasons--;
    this.#settle();
  }

  ref(): void {
    this.#isRef = true;
    this.#settle();
  }

  unref(): void {
    this.#isRef = false;
    this.#settle();
  }

  /** The promise is a reason until it settles: `await target.flush()` at the end of a program must not end it unsettled. */
  during<T>(promise: Promise<T>): Promise<T> {
    const done = (): void => this.remove();
    this.add();
    promise.then(done, done);
    return promise;
  }

  #settle(): void {
    const isHeld = this.#isRef && this.#reasons > 0;
    if (isHeld === this.#isHeld) return;
    this.#isHeld = isHeld;
    if (isHeld) this.#hold();
    else this.#release();
  }
}
