// Promises that somebody else settles, and promises by token that the engine settles with a notice.
// Does not know what is waited for.
// Invariant: a settled or abandoned waiter holds nothing: neither the signal it watched nor a place in a table.

import { onAbort } from './abort.js';

export interface Acknowledgement {
  /** False when the peer cannot acknowledge and the subscription was only written. */
  readonly acknowledged: boolean;
}

/** A promise with its settlers outside; its rejection never counts as unhandled. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  /** What it was resolved with, readable without waiting. */
  value: T | undefined;
  #resolve!: (value: T) => void;
  #reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.promise.catch(() => {});
  }

  resolve(value: T): void {
    this.value = value;
    this.#resolve(value);
  }

  reject(reason: unknown): void {
    this.#reject(reason);
  }

  /** The promise, or the rejection of `signal` when that comes first. */
  race(signal: AbortSignal | undefined): Promise<T> {
    if (signal === undefined) return this.promise;
    return new Promise((resolve, reject) => {
      const forget = onAbort(signal, () => reject(signal.reason));
      this.promise.then(resolve, reject).finally(forget);
    });
  }
}

/** Waiters by token, each with the topic it is about, where it is about one. */
export class Waiters<T> {
  readonly #byToken = new Map<number, { readonly topic: string | undefined; readonly deferred: Deferred<T> }>();

  add(token: number, topic?: string, signal?: AbortSignal): Promise<T> {
    const deferred = new Deferred<T>();
    this.#byToken.set(token, { topic, deferred });
    return deferred.race(signal);
  }

  resolve(token: number, value: T): void {
    this.#take(token)?.resolve(value);
  }

  reject(token: number, reason: unknown): void {
    this.#take(token)?.reject(reason);
  }

  resolveAll(value: T): void {
    for (const token of [...this.#byToken.keys()]) this.resolve(token, value);
  }

  rejectAll(reason: unknown): void {
    for (const token of [...this.#byToken.keys()]) this.reject(token, reason);
  }

  resolveTopic(topic: string, value: T): void {
    for (const [token, waiter] of [...this.#byToken]) if (waiter.topic === topic) this.resolve(token, value);
  }

  /** Rejects those that wait for `topic`. */
  rejectTopic(topic: string, makeReason: () => unknown): void {
    for (const [token, waiter] of [...this.#byToken]) if (waiter.topic === topic) this.reject(token, makeReason());
  }

  #take(token: number): Deferred<T> | undefined {
    const waiter = this.#byToken.get(token);
    this.#byToken.delete(token);
    return waiter?.deferred;
  }
}
