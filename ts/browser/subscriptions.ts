// What the application listens to and what the hub knows of it. The engine's is engine/src/spoke/subscriptions.rs.
// Does not write or read links.
// Invariant: a topic is active only on the current link, and only if the answer to its latest `n` came, or, with a plain hub, if its latest
// `__subscribe` was written.

import { notSubscribed } from '../life-cycle.js';
import { type Acknowledgement, Deferred } from '../waiting.js';

interface Subscription {
  /** The number under which the hub was asked on this link; 0: it was not. */
  n: number;
  isActive: boolean;
  isAcknowledged: boolean;
  refusal: Error | undefined;
  /** Those who wait for the answer, over losses too. */
  waiting: Deferred<Acknowledgement> | undefined;
}

export class Subscriptions {
  readonly #topics = new Map<string, Subscription>();
  #lastN = 0;

  get size(): number {
    return this.#topics.size;
  }

  get topics(): IterableIterator<string> {
    return this.#topics.keys();
  }

  has(topic: string): boolean {
    return this.#topics.has(topic);
  }

  /** The topics whose events came on this link until now. */
  get active(): string[] {
    return [...this.#topics].filter(([, { isActive }]) => isActive).map(([topic]) => topic);
  }

  listen(topic: string): void {
    const { waiting } = this.#topics.get(topic) ?? {};
    this.#topics.set(topic, { n: 0, isActive: false, isAcknowledged: false, refusal: undefined, waiting });
  }

  /** Ceases to want a topic; returns whether the hub is to be told. */
  unlisten(topic: string): boolean {
    const known = this.#topics.get(topic);
    this.#topics.delete(topic);
    known?.waiting?.reject(notSubscribed(topic));
    return known !== undefined && known.n > 0 && known.refusal === undefined;
  }

  /** The next number for a topic that is being told to the hub. */
  ask(topic: string): number {
    const n = ++this.#lastN;
    const known = this.#topics.get(topic);
    if (known !== undefined) known.n = n;
    return n;
  }

  /** The topics that the hub was asked for and has not answered. */
  get asked(): string[] {
    const isAsked = ([, { n, isActive, refusal }]: [string, Subscription]): boolean =>
      n > 0 && !isActive && refusal === undefined;
    return [...this.#topics].filter(isAsked).map(([topic]) => topic);
  }

  /** What was written to a plain hub is as active as can be known. */
  written(topic: string): void {
    const known = this.#topics.get(topic);
    if (known !== undefined) activate(known, false);
  }

  /** The hub says that a topic is active. Only the answer to the latest `n` counts. */
  acknowledged(topic: string, n: unknown): void {
    const known = this.#topics.get(topic);
    if (known !== undefined && n === known.n) activate(known, true);
  }

  /**
   * The hub refuses a topic; the wish stays, the next link asks again. A refusal without a number takes back what was active. False when it
   * is about no topic of ours any more.
   */
  refused(topic: string, n: unknown, error: Error): boolean {
    const known = this.#topics.get(topic);
    if (known === undefined || !(n === undefined ? known.isActive : n === known.n)) return false;
    known.isActive = false;
    known.refusal = error;
    known.waiting?.reject(error);
    known.waiting = undefined;
    return true;
  }

  /** The link is gone, and with it what the hub knew. */
  reset(): void {
    for (const topic of this.#topics.keys()) this.listen(topic);
    this.#lastN = 0;
  }

  async confirm(topic: string, signal: AbortSignal | undefined): Promise<Acknowledgement> {
    const known = this.#topics.get(topic);
    if (known === undefined) throw notSubscribed(topic);
    if (known.refusal !== undefined) throw known.refusal;
    if (known.isActive) return { acknowledged: known.isAcknowledged };
    known.waiting ??= new Deferred();
    return known.waiting.race(signal);
  }

  /** Nobody will be answered any more. */
  end(reason: unknown): void {
    for (const { waiting } of this.#topics.values()) waiting?.reject(reason);
    this.#topics.clear();
  }
}

function activate(subscription: Subscription, acknowledged: boolean): void {
  subscription.isActive = true;
  subscription.isAcknowledged = acknowledged;
  subscription.refusal = undefined;
  subscription.waiting?.resolve({ acknowledged });
  subscription.waiting = undefined;
}
