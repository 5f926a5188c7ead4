// Operators that read several sources: chain, one after the other, and join, all at the same time.
// Invariants: leaving the stream leaves every source, those too that have not been read yet; join holds at most one item of each source
// and gives them in the order in which they came; after one source of join has failed the others are left at once.

import { Fifo } from '../fifo.js';
import { checkSource } from './source.js';
import { end, ignore, Stage, type Stream, Upstream } from './stage.js';

/** What the sources of a list give. */
export type ItemOf<TSources extends readonly AsyncIterable<unknown>[]> =
  TSources[number] extends AsyncIterable<infer TItem> ? TItem : never;

/**
 * Reads its source to the end, then the others, one after the other. A subscription among them listens, and queues, from its making on.
 *
 * ```js
 * pipe(history, chain(pubsub.subscribe('chat.msg', 'room1')));
 * ```
 */
export function chain<TOthers extends readonly AsyncIterable<unknown>[]>(
  ...others: TOthers
): <T>(source: AsyncIterable<T>) => Stream<T | ItemOf<TOthers>> {
  for (const other of others) checkSource(other);
  return <T>(source: AsyncIterable<T>) => {
    const upstreams = [source, ...others].map((each) => new Upstream<unknown>(each));
    let current = 0;
    const pull = async (): Promise<IteratorResult<unknown, undefined>> => {
      for (; current < upstreams.length; current++) {
        const result = await (upstreams[current] as Upstream<unknown>).next();
        if (result.done !== true) return result;
      }
      return end();
    };
    return new Stage(pull, () => leaveAll(upstreams)) as Stream<T | ItemOf<TOthers>>;
  };
}

/**
 * Reads its source and the others at the same time and gives items as they come. Ends when all have ended; when one fails, the others
 * are left, and the error comes after what had come before it.
 *
 * ```js
 * pipe(pubsub.subscribe('chat.msg', 'room1'), join(pubsub.subscribe('chat.msg', 'room2')));
 * ```
 */
export function join<TOthers extends readonly AsyncIterable<unknown>[]>(
  ...others: TOthers
): <T>(source: AsyncIterable<T>) => Stream<T | ItemOf<TOthers>> {
  for (const other of others) checkSource(other);
  return <T>(source: AsyncIterable<T>) => {
    const joined = new Joined([source, ...others].map((each) => new Upstream<unknown>(each)));
    return new Stage(joined.pull, joined.leave) as Stream<T | ItemOf<TOthers>>;
  };
}

interface Arrival {
  readonly upstream: Upstream<unknown>;
  readonly result: IteratorYieldResult<unknown>;
}

class Joined {
  readonly #upstreams: readonly Upstream<unknown>[];
  /** Those that are to be asked at the next pull: nothing of theirs is pending or waits here. */
  readonly #idle: Upstream<unknown>[];
  readonly #arrived = new Fifo<Arrival>();
  #running: number;
  #failure: { readonly error: unknown } | undefined;
  #wake: () => void = ignore;

  constructor(upstreams: readonly Upstream<unknown>[]) {
    this.#upstreams = upstreams;
    this.#idle = [...upstreams];
    this.#running = upstreams.length;
  }

  readonly pull = async (): Promise<IteratorResult<unknown, undefined>> => {
    for (const upstream of this.#idle.splice(0)) void this.#ask(upstream);
    for (;;) {
      const arrival = this.#arrived.shift();
      if (arrival !== undefined) {
        this.#idle.push(arrival.upstream);
        return arrival.result;
      }
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#running === 0) return end();
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  };

  readonly leave = (): Promise<void> => leaveAll(this.#upstreams);

  async #ask(upstream: Upstream<unknown>): Promise<void> {
    try {
      const result = await upstream.next();
      if (result.done === true) this.#running--;
      else this.#arrived.push({ upstream, result });
    } catch (error) {
      this.#failure ??= { error };
      void this.leave().catch(ignore);
    }
    this.#wake();
  }
}

/** Leaves all, whatever goes wrong with some; rejects with the first error. */
async function leaveAll(upstreams: readonly Upstream<unknown>[]): Promise<void> {
  const leavings = upstreams.map((upstream) => upstream.leave());
  for (const leaving of leavings) await leaving;
}
