// What every target with a transport adds to the life cycle: names are checked, topics are told apart from life-cycle names.
// Does not know which transport, and not how an envelope is encoded.
// Invariant: `listen` and `unlisten` alternate per topic, and neither is called for a life-cycle name or after close().

import { LifeCycleTarget } from './life-cycle.js';
import { checkName, isLifeCycleName } from './topic.js';

/** What of an event goes out; an event, or what one would have. */
export interface Outgoing {
  readonly type: string;
  readonly detail: unknown;
}

export abstract class TransportTarget extends LifeCycleTarget {
  /** The topic got its first listener. */
  protected abstract listen(topic: string): void;

  /** The topic lost its last listener. */
  protected abstract unlisten(topic: string): void;

  /** Checks the event and hands it to the transport. Throws misuse only. */
  protected abstract send(event: Outgoing): void;

  override addEventListener(
    name: string,
    callback: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void {
    if (!this.isOver) checkName(String(name));
    super.addEventListener(name, callback, options);
  }

  override dispatchEvent(event: Event): boolean {
    if (this.isOver) return true;
    if (isLifeCycleName(event.type)) return super.dispatchEvent(event);
    this.send(event as CustomEvent);
    return true;
  }

  protected override firstListener(name: string): void {
    if (!isLifeCycleName(name)) this.listen(name);
  }

  protected override lastListener(name: string): void {
    if (!this.isOver && !isLifeCycleName(name)) this.unlisten(name);
  }
}
