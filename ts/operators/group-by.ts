// groupBy: one stream per key, and a stream of those. Decides who gets an item and when the source is read.
// Does not read ahead: the source is read while somebody waits, in a group or for the next group, and there is room.
// Invariants: at most `maxQueued` items wait in all groups together; at most `maxKeys` keys are known; every item goes to one group, or to
// nobody because its group was left; whoever reads its own group is never held up by one that was left.

import { checkNames } from '../options.js';
import { Outlet } from './outlet.js';
import { checkCallback, checkCount } from './source.js';
import { ignore, type Operator, type Stream, Upstream } from './stage.js';

/** Bounds of the groups. */
export interface GroupByOptions {
  /** Items that may wait in all groups together; then the source is not read until some were. Default 16 384 (a guess). */
  readonly maxQueued?: number;
  /** Keys that are known at a time; with one more, the group that got no item for longest ends. Default 65 536 (a guess). */
  readonly maxKeys?: number;
}

/**
 * Splits a source by key and gives `[key, stream]` when the first item of a key comes. Keys are compared as in a `Map`.
 *
 * The groups share one bound, `maxQueued`: items of a group that nobody reads wait, and when so many wait, the source is not read and
 * all groups stand still until some of them are. Read the groups at the same time, and leave those that you do not want. A group
 * that was left (`break`, `return()`) stays left: further items of its key are thrown away and hold up nobody.
 *
 * The source is left when the stream of groups and all groups were left. Leaving the stream of groups ends those whose reading has not
 * begun, after what waits in them; the others go on.
 *
 * ```js
 * for await (const [room, messages] of pipe(all, groupBy(({ id }) => id))) void show(room, messages);
 * ```
 */
export function groupBy<T, TKey>(
  keyFn: (item: T) => TKey | PromiseLike<TKey>,
  options: GroupByOptions = {},
): Operator<T, [key: TKey, group: Stream<T>]> {
  checkCallback('keyFn', keyFn);
  checkNames(options, ['maxQueued', 'maxKeys']);
  const { maxQueued = DEFAULT_MAX_QUEUED, maxKeys = DEFAULT_MAX_KEYS } = options;
  checkCount('maxQueued', maxQueued, 1);
  checkCount('maxKeys', maxKeys, 1);
  return (source) => new Grouping(new Upstream(source), keyFn, { maxQueued, maxKeys }).groups;
}

const DEFAULT_MAX_QUEUED = 16_384;
const DEFAULT_MAX_KEYS = 65_536;

class Grouping<T, TKey> {
  /** The stream of groups. */
  readonly groups: Outlet<[key: TKey, group: Stream<T>]>;
  readonly #upstream: Upstream<T>;
  readonly #keyFn: (item: T) => TKey | PromiseLike<TKey>;
  readonly #maxQueued: number;
  readonly #maxKeys: number;
  /** Groups that were left as well; the one that got an item last is the last. */
  readonly #byKey = new Map<TKey, Outlet<T>>();
  /** Groups that more may come for and that nobody has left. */
  readonly #live = new Set<Outlet<T>>();
  /** Items that wait in groups. */
  #queued = 0;
  /** next() calls that are pending, of groups and of the stream of groups. */
  #wanted = 0;
  #isReading = false;

  constructor(
    upstream: Upstream<T>,
    keyFn: (item: T) => TKey | PromiseLike<TKey>,
    { maxQueued, maxKeys }: Required<GroupByOptions>,
  ) {
    this.#upstream = upstream;
    this.#keyFn = keyFn;
    this.#maxQueued = maxQueued;
    this.#maxKeys = maxKeys;
    this.groups = new Outlet({
      wanted: (count) => this.#want(count),
      taken: ignore,
      left: () => this.#leaveGroups(),
    });
  }

  #want(count: number): void {
    this.#wanted += count;
    if (!this.#isReading) void this.#read();
  }

  #take(count: number): void {
    this.#queued -= count;
    if (!this.#isReading) void this.#read();
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    try {
      while (this.#wanted > 0 && this.#queued < this.#maxQueued) {
        const result = await this.#upstream.next();
        if (result.done === true) this.#end();
        else this.#give(await this.#keyFn(result.value), result.value);
      }
    } catch (error) {
      await this.#upstream.leave().catch(ignore);
      this.#end({ error });
    }
    this.#isReading = false;
  }

  #give(key: TKey, item: T): void {
    const group = this.#byKey.get(key);
    if (group === undefined) return this.#open(key, item);
    this.#byKey.delete(key);
    this.#byKey.set(key, group);
    this.#put(group, item);
  }

  #put(group: Outlet<T>, item: T): void {
    if (!group.isOver && group.put(item)) this.#queued++;
  }

  /** A group for a new key, unless there is nobody left to give it to. */
  #open(key: TKey, item: T): void {
    if (this.groups.isOver) return;
    if (this.#byKey.size >= this.#maxKeys) this.#forgetOldest();
    const group: Outlet<T> = new Outlet({
      wanted: (count) => this.#want(count),
      taken: (count) => this.#take(count),
      left: () => this.#leaveGroup(group),
    });
    this.#byKey.set(key, group);
    this.#live.add(group);
    this.#put(group, item);
    this.groups.put([key, group]);
  }

  #forgetOldest(): void {
    for (const [key, group] of this.#byKey) {
      this.#byKey.delete(key);
      return this.#finish(group);
    }
  }

  #finish(group: Outlet<T>): void {
    this.#live.delete(group);
    group.finish();
  }

  #leaveGroup(group: Outlet<T>): Promise<void> {
    this.#live.delete(group);
    group.drop();
    return this.#leaveWhenUnwanted();
  }

  #leaveGroups(): Promise<void> {
    // Nobody has got these, so nobody can read them.
    for (const [, group] of this.groups.drop()) void this.#leaveGroup(group as Outlet<T>);
    for (const group of [...this.#live]) if (!group.isRead) this.#finish(group);
    return this.#leaveWhenUnwanted();
  }

  async #leaveWhenUnwanted(): Promise<void> {
    if (this.groups.isOver && this.#live.size === 0) await this.#upstream.leave();
  }

  /** The source has ended, or failed: so do all streams, each after what waits in it. */
  #end(failure?: { readonly error: unknown }): void {
    this.groups.finish(failure);
    for (const group of this.#live) group.finish(failure);
    this.#live.clear();
    this.#byKey.clear();
  }
}
