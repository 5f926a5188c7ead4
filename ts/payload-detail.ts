// A view of any target for software that expects the bare payload as `detail`, @graphql-yoga/subscription first of all.
// Does not queue or check anything: whatever the target behind it does or refuses, happens.
// Invariants: the target has one listener per name that has listeners here, and none when they are gone; the view is never closed,
// and never closes the target.

import { TableEventTarget } from './event-target.js';
import { checkTarget } from './options.js';
import { createEvent, isEnvelope } from './topic.js';
import type { TypedEvent, TypedEventTarget } from './types.js';

/**
 * Makes a view of `target` whose events carry the bare payload. A name without a colon is a type with an empty id (`chat` is the topic
 * `chat:`); in any other the first colon splits. Life-cycle events (`gap`, `error`, …) stay with the target: here those names are types.
 *
 * ```js
 * const pubSub = createYogaPubSub({ eventTarget: withPayloadDetail(target) }); // createPubSub of @graphql-yoga/subscription
 * ```
 *
 * Names say nothing about payloads, so that their type is one for all: what the other library says, or `TPayload`.
 */
export function withPayloadDetail<TPayload = unknown>(
  target: EventTarget,
): TypedEventTarget<TypedEvent<string, TPayload>> {
  checkTarget('target', target);
  return new PayloadView(target);
}

class PayloadView extends TableEventTarget {
  readonly #target: EventTarget;
  readonly #bridges = new Map<string, (event: Event) => void>();

  constructor(target: EventTarget) {
    super();
    this.#target = target;
  }

  override dispatchEvent(event: Event): boolean {
    if (!(event instanceof Event))
      throw new TypeError('dispatchEvent needs an Event, such as new CustomEvent(name, { detail })');
    const { type: name, detail } = event as CustomEvent<unknown>;
    const { type, id } = split(name);
    return this.#target.dispatchEvent(createEvent(type, id, detail) as object as Event);
  }

  protected override firstListener(name: string): void {
    const bridge = (event: Event): void => {
      const { detail } = event as CustomEvent<unknown>;
      if (isEnvelope(detail)) this.emit(name, detail.payload);
    };
    this.#target.addEventListener(topicOf(name), bridge);
    this.#bridges.set(name, bridge);
  }

  protected override lastListener(name: string): void {
    this.#target.removeEventListener(topicOf(name), this.#bridges.get(name) ?? null);
    this.#bridges.delete(name);
  }
}

function topicOf(name: string): string {
  return name.includes(':') ? name : `${name}:`;
}

function split(name: string): { type: string; id: string } {
  const colon = name.indexOf(':');
  if (colon === -1) return { type: name, id: '' };
  return { type: name.slice(0, colon), id: name.slice(colon + 1) };
}
