// The event that our targets dispatch: a CustomEvent whose `target`, `currentTarget` and propagation are set by our listener table.
// The platform keeps those in slots that only its own dispatch can fill. Does not know listeners.
// Invariants: while our table walks an event it answers as if the platform dispatched it; dispatched by the platform's
// EventTarget instead, it behaves as any CustomEvent.

let isOwn: (event: Event) => event is TargetEvent;
let beginOwn: (event: TargetEvent, target: EventTarget) => void;
let endOwn: (event: TargetEvent) => void;
let isOwnStopped: (event: TargetEvent) => boolean;
let sourceOfOwn: (event: TargetEvent) => object | undefined;

/** A `CustomEvent` that our own listener table can dispatch. */
export class TargetEvent<TTopic extends string = string, TDetail = unknown> extends CustomEvent<TDetail> {
  declare readonly type: TTopic;
  // biome-ignore lint/style/useReadonlyClassProperties: written in the static block
  #target: EventTarget | null = null;
  // biome-ignore lint/style/useReadonlyClassProperties: as above
  #currentTarget: EventTarget | null = null;
  #isStopped = false;
  readonly #source: object | undefined;

  /** `source`: the connection that the event came in by, for `hub.sourceOf(event)`. */
  constructor(topic: TTopic, detail: TDetail, source?: object) {
    super(topic, { detail });
    this.#source = source;
  }

  override get target(): EventTarget | null {
    return this.#target ?? super.target;
  }

  override get currentTarget(): EventTarget | null {
    return this.#currentTarget ?? super.currentTarget;
  }

  override get eventPhase(): number {
    return this.#currentTarget === null ? super.eventPhase : AT_TARGET;
  }

  override composedPath(): EventTarget[] {
    return this.#currentTarget === null ? super.composedPath() : [this.#currentTarget];
  }

  override stopImmediatePropagation(): void {
    this.#isStopped = true;
    super.stopImmediatePropagation();
  }

  static {
    isOwn = (event): event is TargetEvent => #target in event;
    beginOwn = (event, target) => {
      if (event.#currentTarget !== null) throw isBeingDispatched(event);
      event.#target = target;
      event.#currentTarget = target;
    };
    endOwn = (event) => {
      event.#currentTarget = null;
      event.#isStopped = false;
    };
    isOwnStopped = (event) => event.#isStopped;
    sourceOfOwn = (event) => event.#source;
  }
}

/** Marks an event as being dispatched at `target`. Throws `InvalidStateError`, as the platform does, when it already is. */
export function beginDispatch(event: Event, target: EventTarget): void {
  if (isOwn(event)) beginOwn(event, target);
  else beginForeign(event, target);
}

/** Takes the mark off again; `target` stays, as on the platform. */
export function endDispatch(event: Event): void {
  if (isOwn(event)) return endOwn(event);
  const state = foreign.get(event);
  if (state !== undefined) Object.assign(state, { currentTarget: null, isStopped: false });
}

/** Whether `stopImmediatePropagation` was called in the dispatch under way. */
export function isStopped(event: Event): boolean {
  return isOwn(event) ? isOwnStopped(event) : foreign.get(event)?.isStopped === true;
}

/** The connection that an event came in by. */
export function sourceOf(event: Event): object | undefined {
  return isOwn(event) ? sourceOfOwn(event) : undefined;
}

const AT_TARGET = 2;

interface ForeignState {
  target: EventTarget;
  currentTarget: EventTarget | null;
  isStopped: boolean;
}

/** Events that were not made by us and are or were dispatched by our table: `new CustomEvent(…)` of users. */
const foreign = new WeakMap<Event, ForeignState>();

/**
 * Listeners must get the very object that was dispatched, so it gets own properties in front of its prototype's.
 * Refused: a copy (it would lose fields of the user's subclass and `preventDefault`).
 */
function beginForeign(event: Event, target: EventTarget): void {
  const known = foreign.get(event);
  if (known === undefined) return adopt(event, { target, currentTarget: target, isStopped: false });
  if (known.currentTarget !== null) throw isBeingDispatched(event);
  Object.assign(known, { target, currentTarget: target });
}

function adopt(event: Event, state: ForeignState): void {
  foreign.set(event, state);
  const stop = event.stopImmediatePropagation;
  Object.defineProperties(event, {
    target: { configurable: true, get: () => state.target },
    currentTarget: { configurable: true, get: () => state.currentTarget },
    eventPhase: { configurable: true, get: () => (state.currentTarget === null ? 0 : AT_TARGET) },
    composedPath: { configurable: true, value: () => (state.currentTarget === null ? [] : [state.currentTarget]) },
    stopImmediatePropagation: {
      configurable: true,
      value: () => {
        state.isStopped = true;
        stop.call(event);
      },
    },
  });
}

function isBeingDispatched(event: Event): DOMException {
  return new DOMException(`event "${event.type}" is being dispatched already; make a new one`, 'InvalidStateError');
}
