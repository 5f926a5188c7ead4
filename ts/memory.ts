// A target without a transport: the listener table with the whole life cycle, for tests and for use within one process.
// Does not copy payloads and checks no names: what the platform's EventTarget takes, it takes. Runs in browsers.
// Invariants: dispatch is synchronous and reaches the publisher's own listeners; nothing is ever buffered.

import { type Direct, dispatchEnvelope } from './direct.js';
import { PubSubError } from './errors.js';
import type { Closing } from './life-cycle.js';
import { LifeCycleTarget } from './life-cycle.js';
import { isReserved } from './topic.js';
import type { AnyEvent, EventEnvelope, NativeTarget, TargetStats, TypedEvent } from './types.js';
import type { Acknowledgement } from './waiting.js';

/**
 * Makes a target that is its own and only peer.
 *
 * ```js
 * const target = createMemoryEventTarget();
 * target.addEventListener('chat.msg:r1', (event) => console.log(event.detail.payload));
 * target.dispatchEvent(createEvent('chat.msg', 'r1', { text: 'hello' }));
 * ```
 */
export function createMemoryEventTarget<TEvent extends TypedEvent = AnyEvent>(): NativeTarget<TEvent> {
  return new MemoryEventTarget();
}

class MemoryEventTarget extends LifeCycleTarget implements Direct {
  #dispatched = 0;
  #unrouted = 0;

  constructor() {
    super();
    // As on a target with a transport, `open` comes after the listeners of this turn were added.
    queueMicrotask(() => this.opened({ reconnected: false, native: true }));
  }

  override dispatchEvent(event: Event): boolean {
    if (this.isOver) return true;
    if (isReserved(event.type)) {
      throw new PubSubError(
        'ERR_RESERVED_TYPE',
        `types beginning with "__" belong to the protocol, got "${event.type}"; choose another`,
      );
    }
    this.#dispatched++;
    if (!this.hasListeners(event.type)) this.#unrouted++;
    return super.dispatchEvent(event);
  }

  [dispatchEnvelope](topic: string, { type, id, payload }: EventEnvelope): boolean {
    // Somebody may have put something of theirs in its place.
    if (this.dispatchEvent !== MemoryEventTarget.prototype.dispatchEvent) return false;
    if (this.isOver) return true;
    this.#dispatched++;
    if (!this.emitEnvelope(topic, type, id, payload)) this.#unrouted++;
    return true;
  }

  get bufferedAmount(): number {
    return 0;
  }

  async flush(): Promise<void> {}

  async drain(): Promise<void> {}

  stats(): TargetStats {
    return { dispatched: this.#dispatched, unrouted: this.#unrouted, topics: [...this.listenedNames].length };
  }

  protected override async confirm(): Promise<Acknowledgement> {
    return { acknowledged: true };
  }

  protected override shutDown({ code, reason }: Closing): void {
    queueMicrotask(() => this.ended({ code, reason }));
  }
}
