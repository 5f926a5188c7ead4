// A first-in, first-out queue: whoever waits is served in the order in which it came.
// Has no bound: whoever fills it has one.
// Invariant: a place that was taken holds nothing any more, and the array is at most twice as long as what waits, or COMPACT_AT.

/** Taken places at the front before the queue is moved up: seldom enough to cost nothing, often enough to stay small. */
const COMPACT_AT = 1024;

export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  /** The item that waits longest, taken out; `undefined` when nothing waits. */
  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) this.clear();
    else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#items.length) this.#compact();
    return item;
  }

  /** Takes everything out, oldest first. */
  takeAll(): T[] {
    const items = this.#items.slice(this.#head) as T[];
    this.clear();
    return items;
  }

  clear(): void {
    // A short array is kept: a queue that is emptied at each turn would make a new one at each turn.
    if (this.#items.length > COMPACT_AT) this.#items = [];
    else this.#items.length = 0;
    this.#head = 0;
  }

  #compact(): void {
    this.#items = this.#items.slice(this.#head);
    this.#head = 0;
  }
}
