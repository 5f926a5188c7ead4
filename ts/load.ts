// Loads of the engine for sockets that JavaScript carries: takes them when woken, says what has left. Does not know what a socket is.
// Invariants: a load is handled in the turn in which it was taken; the tasks of one socket stand together and in order.

import { LOAD_HEAD, LOAD_ITEM, MAX_LOAD } from './port.js';

/** One thing to do for a socket. `first` and `end` point into what was taken with it; `extra` is a size or a close code. */
export interface LoadItem {
  readonly id: number;
  readonly task: number;
  readonly first: number;
  readonly end: number;
  readonly extra: number;
}

/** Numbers for one load. */
export function loadMeta(): Uint32Array {
  return new Uint32Array(LOAD_HEAD + LOAD_ITEM * (MAX_LOAD + 1));
}

/** Hands over the tasks of a load, socket by socket; says whether more wait. */
export function eachSocket(meta: Uint32Array, handle: (id: number, items: readonly LoadItem[]) => void): boolean {
  const items = Array.from({ length: meta[0] as number }, (_, i) => itemAt(meta, LOAD_HEAD + LOAD_ITEM * i));
  for (let from = 0; from < items.length; ) {
    const { id } = items[from] as LoadItem;
    let to = from + 1;
    while (items[to]?.id === id) to++;
    handle(id, items.slice(from, to));
    from = to;
  }
  return meta[1] === 1;
}

function itemAt(meta: Uint32Array, at: number): LoadItem {
  const [id, task, first, end, extra] = meta.subarray(at, at + LOAD_ITEM) as unknown as number[] as [
    number,
    number,
    number,
    number,
    number,
  ];
  return { id, task, first, end, extra };
}

/** What sockets have sent, told to the engine in one call. */
export class Receipts {
  readonly #tell: (pairs: Uint32Array, count: number) => void;
  readonly #pairs = new Uint32Array(2 * MAX_LOAD);
  #count = 0;

  constructor(tell: (pairs: Uint32Array, count: number) => void) {
    this.#tell = tell;
  }

  add(id: number, bytes: number): void {
    if (bytes <= 0) return;
    this.#pairs[2 * this.#count] = id;
    this.#pairs[2 * this.#count + 1] = bytes;
    if (++this.#count === MAX_LOAD) this.flush();
  }

  flush(): void {
    if (this.#count === 0) return;
    this.#tell(this.#pairs, this.#count);
    this.#count = 0;
  }
}
