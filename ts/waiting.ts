// Promises that somebody else settles, and promises by token that the engine settles with a notice.
// Does not know what is waited for.
// Invariants: a settled or abandoned waiter holds nothing: neither the signal it watched nor a place in a table; a topic has at most one
// token, which all who wait for it share.

import { onAbort } from './abort.js';

/** What is known of a subscription once it is active. */
export interface Acknowledgement {
  /** False when the peer cannot acknowledge and the subscription was only written. */
  readonly acknowledged: boolean;
}

/** Somebody who waits for a promise only until a signal is aborted. */
interface Racer<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

/** A promise with its settlers outside; its rejection never counts as unhandled. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  /** What it was resolved with, readable without waiting. */
  value: T | undefined;
  #resolve!: (value: T) => void;
  #reject!: (reason: unknown) => void;
  /** Not reactions of the promise: those could not be taken back when a signal is aborted. */
  readonly #racers = new Set<Racer<T>>();

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
    for (const racer of this.#racers) racer.resolve(value);
    this.#racers.clear();
  }

  reject(reason: unknown): void {
    this.#reject(reason);
    for (const racer of this.#racers) racer.reject(reason);
    this.#racers.clear();
  }

  /** The promise, or the rejection of `signal` when that comes first. To be asked for before it is settled. */
  race(signal: AbortSignal | undefined): Promise<T> {
    if (signal === undefined) return this.promise;
    return new Promise((resolve, reject) => {
      const forget = onAbort(signal, () => {
        this.#racers.delete(racer);
        reject(signal.reason);
      });
      const settled =
        <V>(settle: (value: V) => void) =>
        (value: V): void => {
          forget();
          settle(value);
        };
      const racer: Racer<T> = { resolve: settled(resolve), reject: settled(reject) };
      this.#racers.add(racer);
    });
  }
}

/** Waiters by token, each with the topic it is about, where it is about one. */
export class Waiters<T> {
  readonly #byToken = new Map<number, { readonly topic: string | undefined; readonly deferred: Deferred<T> }>();
  readonly #tokens = new Map<string, number>();

  add(token: number): Promise<T> {
    return this.#insert(token, undefined).promise;
  }

  /** Waits for what is known of a topic: with those who wait for it already, or by asking for a token of its own. */
  share(topic: string, ask: () => number, signal?: AbortSignal): Promise<T> {
    const token = this.#tokens.get(topic);
    const waiting = token === undefined ? undefined : this.#byToken.get(token)?.deferred;
    return (waiting ?? this.#insert(ask(), topic)).race(signal);
  }

  #insert(token: number, topic: string | undefined): Deferred<T> {
    const deferred = new Deferred<T>();
    this.#byToken.set(token, { topic, deferred });
    if (topic !== undefined) this.#tokens.set(topic, token);
    return deferred;
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
    const token = this.#tokens.get(topic);
    if (token !== undefined) this.resolve(token, value);
  }

  /** Rejects those that wait for `topic`. */
  rejectTopic(topic: string, makeReason: () => unknown): void {
    const token = this.#tokens.get(topic);
    if (token !== undefined) this.reject(token, makeReason());
  }

  #take(token: number): Deferred<T> | undefined {
    const waiter = this.#byToken.get(token);
    this.#byToken.delete(token);
    if (waiter?.topic !== undefined) this.#tokens.delete(waiter.topic);
    return waiter?.deferred;
  }
}
