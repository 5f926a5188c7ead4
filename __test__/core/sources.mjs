// Sources for tests of operators: they count what is asked of them and can be made to fail, hang or wait.

/** Gives `items`, one per pull. `error` comes after them; `leaveError` comes from return(). */
export class ListSource {
  pulls = 0;
  returns = 0;
  #items;
  #error;
  #leaveError;

  constructor(items, { error, leaveError } = {}) {
    this.#items = [...items];
    this.#error = error;
    this.#leaveError = leaveError;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    this.pulls++;
    if (this.returns > 0) return { value: undefined, done: true };
    if (this.#items.length > 0) return { value: this.#items.shift(), done: false };
    if (this.#error === undefined) return { value: undefined, done: true };
    const error = this.#error;
    this.#error = undefined;
    throw error;
  }

  async return() {
    this.returns++;
    if (this.#leaveError !== undefined) throw this.#leaveError;
    return { value: undefined, done: true };
  }
}

/** Gives what is pushed, when it is pushed; return() ends a pull that waits, as a subscription does. */
export class PushedSource {
  returns = 0;
  #waiting = [];
  #queue = [];

  /** Pulls that wait. */
  get waiting() {
    return this.#waiting.length;
  }

  /** Items that nobody has pulled. */
  get queued() {
    return this.#queue.length;
  }

  push(...items) {
    for (const value of items) this.#put(({ resolve }) => resolve({ value, done: false }));
  }

  end() {
    this.#put(({ resolve }) => resolve({ value: undefined, done: true }));
  }

  fail(error) {
    this.#put(({ reject }) => reject(error));
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    return new Promise((resolve, reject) => {
      const settle = this.#queue.shift();
      if (settle === undefined) this.#waiting.push({ resolve, reject });
      else settle({ resolve, reject });
    });
  }

  async return() {
    this.returns++;
    for (const { resolve } of this.#waiting.splice(0)) resolve({ value: undefined, done: true });
    return { value: undefined, done: true };
  }

  #put(settle) {
    const waiter = this.#waiting.shift();
    if (waiter === undefined) this.#queue.push(settle);
    else settle(waiter);
  }
}

/** A source whose pulls and whose return() never settle. */
export class SilentSource {
  returns = 0;

  [Symbol.asyncIterator]() {
    return this;
  }

  next() {
    return new Promise(() => {});
  }

  return() {
    this.returns++;
    return new Promise(() => {});
  }
}

export const done = { value: undefined, done: true };

/** Reads to the end: the items, and the error that came instead of an end. */
export async function readAll(stream) {
  const items = [];
  try {
    for await (const item of stream) items.push(item);
  } catch (error) {
    return { items, error };
  }
  return { items, error: undefined };
}

/** Lets everything that waits for promises alone go on. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

export const numbersTo = (count) => Array.from({ length: count }, (_, n) => n);
