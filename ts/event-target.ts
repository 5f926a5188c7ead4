// The one listener table of all targets, with the semantics of the platform's EventTarget, and the class that targets extend.
// Does not decide what travels: it only tells, by `firstListener` and `lastListener`, when interest in a name begins and ends.
// The platform's own table cannot tell that: removals by `once` and `signal` do not pass through an overridden method.
// Invariants: a name has an entry exactly while it has a listener; an array of listeners that was walked once is never
// changed again (a change makes a new one); nothing but the event is allocated by a dispatch, and no event for an envelope that only
// hearers get.

import { onAbort } from './abort.js';
import { reportUncaught } from './errors.js';
import { beginDispatch, endDispatch, isStopped, TargetEvent } from './target-event.js';
import type { EventEnvelope } from './types.js';

/** Marks a listener of ours that takes an envelope in the place of its event: making an event costs more than all the rest. */
export const hear: unique symbol = Symbol();

/** A listener that can do without the event. */
export interface Hearer {
  (given: Event | EventEnvelope): void;
  readonly [hear]: true;
}

/** One registration. `isRemoved` outlives its place in the table for the walks that still see it. */
interface Listener {
  readonly callback: EventListenerOrEventListenerObject;
  readonly capture: boolean;
  readonly once: boolean;
  isRemoved: boolean;
  /** Stops watching the signal, so that a long-lived one does not keep removed listeners alive. */
  forgetSignal: (() => void) | undefined;
}

interface Entry {
  listeners: Listener[];
  /** A walk has seen `listeners`: copy before changing it. */
  isShared: boolean;
}

/** An `EventTarget` with our listener table behind the platform's three methods. */
export class TableEventTarget extends EventTarget {
  readonly #entries = new Map<string, Entry>();

  override addEventListener(
    name: string,
    callback: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void {
    const key = String(name);
    if (!isCallback(callback)) return;
    const signal = signalOf(options);
    if (signal?.aborted) return;
    const listener = toListener(callback, options);
    if (!this.#insert(key, listener) || signal === undefined) return;
    listener.forgetSignal = onAbort(signal, () => this.#remove(key, listener));
  }

  override removeEventListener(
    name: string,
    callback: EventListenerOrEventListenerObject | null,
    options?: EventListenerOptions | boolean,
  ): void {
    const key = String(name);
    const listener = find(this.#entries.get(key), callback, captureOf(options));
    if (listener !== undefined) this.#remove(key, listener);
  }

  /** Dispatches to the listeners of this object. Targets with a transport override it. */
  override dispatchEvent(event: Event): boolean {
    if (!(event instanceof Event)) throw new TypeError('dispatchEvent needs an Event; use createEvent()');
    this.#walk(this.#entries.get(event.type), event.type, event);
    return !event.defaultPrevented;
  }

  /** A name got its first listener. When this throws, the listener is not added. */
  protected firstListener(_name: string): void {}

  /** A name lost its last listener. */
  protected lastListener(_name: string): void {}

  /** Names that have listeners. */
  protected get listenedNames(): IterableIterator<string> {
    return this.#entries.keys();
  }

  protected hasListeners(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Makes an event of ours and dispatches it; costs one lookup when nobody listens. Returns whether somebody did. */
  protected emit(name: string, detail: unknown, source?: object): boolean {
    const entry = this.#entries.get(name);
    if (entry === undefined) return false;
    this.#walk(entry, name, new TargetEvent(name, detail, source));
    return true;
  }

  /** The same for an envelope, which is not built either when nobody listens. */
  protected emitEnvelope(topic: string, type: string, id: string, payload: unknown, source?: object): boolean {
    const entry = this.#entries.get(topic);
    if (entry === undefined) return false;
    const envelope = { type, id, payload };
    const isForHearers = entry.listeners.every(({ callback }) => hear in callback);
    if (!isForHearers) return this.emit(topic, envelope, source);
    this.#callAll(entry, topic, envelope as unknown as Event);
    return true;
  }

  /** Removes every listener without telling `lastListener`: the end of the target. */
  protected clearListeners(): void {
    for (const { listeners } of this.#entries.values()) for (const listener of listeners) retire(listener);
    this.#entries.clear();
  }

  #insert(name: string, listener: Listener): boolean {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      this.firstListener(name);
      this.#entries.set(name, { listeners: [listener], isShared: false });
      return true;
    }
    if (find(entry, listener.callback, listener.capture) !== undefined) return false;
    place(writable(entry), listener);
    return true;
  }

  #remove(name: string, listener: Listener): void {
    if (listener.isRemoved) return;
    retire(listener);
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    if (entry.listeners.length > 1) {
      const listeners = writable(entry);
      listeners.splice(listeners.indexOf(listener), 1);
    } else {
      this.#entries.delete(name);
      this.lastListener(name);
    }
  }

  #walk(entry: Entry | undefined, name: string, event: Event): void {
    beginDispatch(event, this);
    if (entry !== undefined) this.#callAll(entry, name, event);
    endDispatch(event);
  }

  /** `event` is an envelope where all are hearers; a listener that is added meanwhile is not called. */
  #callAll(entry: Entry, name: string, event: Event): void {
    entry.isShared = true;
    const { listeners } = entry;
    for (let i = 0; i < listeners.length; i++) {
      const listener = listeners[i] as Listener;
      if (listener.isRemoved) continue;
      try {
        if (listener.once) this.#remove(name, listener);
        call(listener.callback, event, this);
      } catch (error) {
        reportUncaught(error);
      }
      if (isStopped(event)) return;
    }
  }
}

function call(callback: EventListenerOrEventListenerObject, event: Event, target: EventTarget): void {
  if (typeof callback === 'function') return callback.call(target, event);
  const { handleEvent } = callback;
  if (typeof handleEvent !== 'function')
    throw new TypeError(`handleEvent of a listener of "${event.type}" is not a function`);
  handleEvent.call(callback, event);
}

/** Whether there is something to call; `null` is a no-op as on the platform, anything that is no object a mistake. */
function isCallback(
  callback: EventListenerOrEventListenerObject | null | undefined,
): callback is EventListenerOrEventListenerObject {
  if (callback === null || callback === undefined) return false;
  if (typeof callback === 'function' || typeof callback === 'object') return true;
  throw new TypeError(`a listener must be a function or have handleEvent, got ${typeof callback}`);
}

function toListener(
  callback: EventListenerOrEventListenerObject,
  options: AddEventListenerOptions | boolean | undefined,
): Listener {
  const once = Boolean(membersOf(options)?.once);
  return { callback, capture: captureOf(options), once, isRemoved: false, forgetSignal: undefined };
}

function captureOf(options: EventListenerOptions | boolean | null | undefined): boolean {
  return Boolean(typeof options === 'object' ? options?.capture : options);
}

function signalOf(options: AddEventListenerOptions | boolean | null | undefined): AbortSignal | undefined {
  const signal = membersOf(options)?.signal;
  if (signal === undefined) return undefined;
  if (typeof signal?.addEventListener !== 'function')
    throw new TypeError('signal of a listener must be an AbortSignal');
  return signal;
}

/** Options in their short form, a boolean, have no members. */
function membersOf(
  options: AddEventListenerOptions | boolean | null | undefined,
): AddEventListenerOptions | null | undefined {
  return options as AddEventListenerOptions | null | undefined;
}

function find(entry: Entry | undefined, callback: unknown, capture: boolean): Listener | undefined {
  return entry?.listeners.find((listener) => listener.callback === callback && listener.capture === capture);
}

function retire(listener: Listener): void {
  listener.isRemoved = true;
  listener.forgetSignal?.();
}

function writable(entry: Entry): Listener[] {
  if (entry.isShared) {
    entry.listeners = entry.listeners.slice();
    entry.isShared = false;
  }
  return entry.listeners;
}

function place(listeners: Listener[], listener: Listener): void {
  const before = listener.capture && isCaptureFirst() ? listeners.findIndex((other) => !other.capture) : -1;
  if (before === -1) listeners.push(listener);
  else listeners.splice(before, 0, listener);
}

/**
 * Whether this runtime calls capturing listeners before the others: the DOM standard and Bun do, Node and Deno keep the order of
 * addition. Asked once, when the first capturing listener has to share a name.
 */
function isCaptureFirst(): boolean {
  captureFirst ??= probeCaptureOrder();
  return captureFirst;
}

let captureFirst: boolean | undefined;

function probeCaptureOrder(): boolean {
  const target = new EventTarget();
  let first = '';
  target.addEventListener('probe', () => (first ||= 'other'));
  target.addEventListener('probe', () => (first ||= 'capture'), true);
  target.dispatchEvent(new Event('probe'));
  return first === 'capture';
}
