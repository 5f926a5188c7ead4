// A network of hubs and spokes inside this process whose links can be cut, delayed, stalled and lost: for tests of code that uses targets.
// Does not move bytes and does not bring faults about: the engine does (engine/src/transport/memory/). Knows which names there are.
// Invariants: a name belongs to one target that is not closed; whatever was made here is closed with the network.

import { PubSubError } from './errors.js';
import { type HubOptions, hubOptionNames, makeHub } from './hub-options.js';
import type { HubEventTarget } from './hub-target.js';
import { memorySpoke, NativeMemoryNetwork } from './native.js';
import { makeSpoke } from './native-spoke.js';
import { checkNames, invalidOption, nonNegativeInteger, wrong } from './options.js';
import type { NativeNetwork } from './port.js';
import { type SpokeOptions, spokeOptionNames } from './spoke-options.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';

/** What a network rolls its dice with. */
export interface NetworkOptions {
  /** Decides every random part of a lag. Default: a random one; `network.seed` has it. */
  readonly seed?: number;
}

/** A node of a network: its name, or the hub or spoke at it. */
export type NetworkNode = string | EventTarget;

/**
 * Hubs and spokes in one process, and what befalls the links between them. Two nodes are a spoke and its hub, in any order. Names that are
 * not known, and pairs that have no link, throw `ERR_INVALID_OPTION`. A fault takes effect at once; targets hear of it a moment later.
 */
export interface Network extends AsyncDisposable {
  readonly seed: number;
  /** Makes a hub. The name of a closed one may be used again: its spokes come back to the new one. */
  hub<TEvent extends TypedEvent = AnyEvent>(name: string, options?: HubOptions<TEvent>): HubEventTarget<TEvent>;
  /** Makes a spoke of a hub of this network. */
  spoke<TEvent extends TypedEvent = AnyEvent>(
    name: string,
    hub: NetworkNode,
    options?: SpokeOptions,
  ): NativeTarget<TEvent>;
  /** Breaks the link and refuses new ones until `heal`. What has arrived at an end is still read there; what is on its way is lost. */
  cut(a: NetworkNode, b: NetworkNode): void;
  /** Ends `cut` and `halfOpen`. A link that was half-open breaks. */
  heal(a: NetworkNode, b: NetworkNode): void;
  /** Breaks the link once; a new one can be made at once. */
  sever(a: NetworkNode, b: NetworkNode): void;
  /** Lets bytes vanish in both directions without a word, until `heal`: only heartbeats find it. Attempts to connect get no answer. */
  halfOpen(a: NetworkNode, b: NetworkNode): void;
  /** What is sent from now on takes `delayMs` and a random part of `jitterMs`, between nodes that have no lag of their own. */
  lag(delayMs: number, jitterMs?: number): void;
  /** The same between a spoke and its hub; holds before the lag of the network. */
  lag(a: NetworkNode, b: NetworkNode, delayMs: number, jitterMs?: number): void;
  /** The node neither takes nor gives bytes until `resume`, as a process that was stopped. Nothing is lost by that alone. */
  stall(node: NetworkNode): void;
  /** Ends `stall`. */
  resume(node: NetworkNode): void;
  /** Closes all hubs and spokes at once, without writing what waits. Faults do nothing afterwards. Never rejects; the same promise each time. */
  close(): Promise<void>;
}

/**
 * Makes a network without nodes.
 *
 * ```js
 * const network = createNetwork();
 * const hub = network.hub('hub');
 * const spoke = network.spoke('alice', hub, { reconnect: { maxDelayMs: 50 } });
 * await spoke.ready();
 * network.cut('alice', 'hub');
 * ```
 */
export function createNetwork(options: NetworkOptions = {}): Network {
  checkNames(options, ['seed']);
  return new MemoryNetwork(nonNegativeInteger('seed', options.seed) ?? randomSeed());
}

/** Longest lag in milliseconds: what fits a timer. */
const MAX_LAG_MS = 2 ** 31 - 1;

/** A hub or a spoke, whatever its events. */
type Member = EventTarget & Pick<NativeTarget, 'state' | 'closed' | 'close'>;

/** Who is at a name. */
interface Place {
  readonly target: Member;
  /** The name of a spoke's hub; a hub has none. */
  readonly hub?: string;
}

class MemoryNetwork implements Network {
  readonly seed: number;
  readonly #native: NativeNetwork;
  readonly #places = new Map<string, Place>();
  readonly #names = new WeakMap<EventTarget, string>();
  readonly #open = new Set<Member>();
  #closing: Promise<void> | undefined;

  constructor(seed: number) {
    this.seed = seed;
    this.#native = new NativeMemoryNetwork(seed);
  }

  hub<TEvent extends TypedEvent = AnyEvent>(name: string, options: HubOptions<TEvent> = {}): HubEventTarget<TEvent> {
    this.#checkFree(name);
    checkNames(options, hubOptionNames);
    const hub = makeHub(options, (native) => native.joinMemory(this.#native, name));
    this.#settle(name, { target: hub });
    return hub;
  }

  spoke<TEvent extends TypedEvent = AnyEvent>(
    name: string,
    hub: NetworkNode,
    options: SpokeOptions = {},
  ): NativeTarget<TEvent> {
    this.#checkFree(name);
    const hubName = this.#nameOf(hub);
    if (this.#places.get(hubName)?.hub !== undefined)
      throw invalidOption(`${quote(hubName)} is a spoke${this.#withSeed()}; expected a hub of this network`);
    checkNames(options, spokeOptionNames);
    const destination = { url: `memory://${hubName}`, headers: [] };
    const spoke = makeSpoke<TEvent>(options, destination, (native) => memorySpoke(native, this.#native, name, hubName));
    this.#settle(name, { target: spoke, hub: hubName });
    return spoke;
  }

  cut(a: NetworkNode, b: NetworkNode): void {
    this.#between(a, b, (spoke, hub) => this.#native.cut(spoke, hub));
  }

  heal(a: NetworkNode, b: NetworkNode): void {
    this.#between(a, b, (spoke, hub) => this.#native.heal(spoke, hub));
  }

  sever(a: NetworkNode, b: NetworkNode): void {
    this.#between(a, b, (spoke, hub) => this.#native.sever(spoke, hub));
  }

  halfOpen(a: NetworkNode, b: NetworkNode): void {
    this.#between(a, b, (spoke, hub) => this.#native.halfOpen(spoke, hub));
  }

  lag(delayMs: number, jitterMs?: number): void;
  lag(a: NetworkNode, b: NetworkNode, delayMs: number, jitterMs?: number): void;
  lag(...given: [number, number?] | [NetworkNode, NetworkNode, number, number?]): void {
    if (given.length < 3 || typeof given[0] === 'number') {
      const [delayMs, jitterMs = 0] = given as [number, number?];
      const lag = [milliseconds('delayMs', delayMs), milliseconds('jitterMs', jitterMs)] as const;
      if (this.#closing === undefined) this.#native.setLag(...lag);
      return;
    }
    const [a, b, delayMs, jitterMs = 0] = given as [NetworkNode, NetworkNode, number, number?];
    const lag = [milliseconds('delayMs', delayMs), milliseconds('jitterMs', jitterMs)] as const;
    this.#between(a, b, (spoke, hub) => this.#native.setLagBetween(spoke, hub, ...lag));
  }

  stall(node: NetworkNode): void {
    const name = this.#nameOf(node);
    if (this.#closing === undefined) this.#native.stall(name);
  }

  resume(node: NetworkNode): void {
    const name = this.#nameOf(node);
    if (this.#closing === undefined) this.#native.resume(name);
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all([...this.#open].map((target) => target.close({ timeoutMs: 0 }))).then(() =>
      this.#native.close(),
    );
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #settle(name: string, place: Place): void {
    const { target } = place;
    this.#places.set(name, place);
    this.#names.set(target, name);
    this.#open.add(target);
    void target.closed.then(() => this.#open.delete(target));
  }

  #checkFree(name: string): void {
    if (typeof name !== 'string' || name === '') throw wrong('name', 'a non-empty string', name);
    if (this.#closing !== undefined)
      throw new PubSubError('ERR_CLOSED', `the network was closed${this.#withSeed()}; make a new one`);
    const place = this.#places.get(name);
    if (place === undefined || place.target.state === 'closing' || place.target.state === 'closed') return;
    const kind = place.hub === undefined ? 'hub' : 'spoke';
    throw invalidOption(
      `${quote(name)} is taken by a ${kind} that is ${place.target.state}${this.#withSeed()}; close it first`,
    );
  }

  #nameOf(node: NetworkNode): string {
    const name = typeof node === 'string' ? node : this.#names.get(node);
    if (name !== undefined && this.#places.has(name)) return name;
    const what = typeof node === 'string' ? `no node ${quote(node)} in this network` : 'no target of this network';
    const known = [...this.#places.keys()].map(quote).join(', ');
    throw invalidOption(`${what}${this.#withSeed()}; known are ${known === '' ? 'none yet' : known}`);
  }

  /** Acts on the link between a spoke and its hub. */
  #between(a: NetworkNode, b: NetworkNode, act: (spoke: string, hub: string) => void): void {
    const [first, second] = [this.#nameOf(a), this.#nameOf(b)];
    const isSpokeOf = (spoke: string, hub: string): boolean => this.#places.get(spoke)?.hub === hub;
    if (!isSpokeOf(first, second) && !isSpokeOf(second, first)) throw invalidOption(this.#noLink(first, second));
    if (this.#closing === undefined) act(first, second);
  }

  #noLink(first: string, second: string): string {
    const describe = (name: string): string => {
      const hub = this.#places.get(name)?.hub;
      return hub === undefined ? `${quote(name)} is a hub` : `${quote(name)} is a spoke of ${quote(hub)}`;
    };
    return `${describe(first)}, ${describe(second)}${this.#withSeed()}: expected a spoke and its hub`;
  }

  #withSeed(): string {
    return ` (seed ${this.seed})`;
  }
}

function milliseconds(name: string, value: number): number {
  const checked = nonNegativeInteger(name, value, MAX_LAG_MS);
  if (checked === undefined) throw wrong(name, 'a non-negative integer', value);
  return checked;
}

function randomSeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}

const quote = (name: string): string => JSON.stringify(name);
