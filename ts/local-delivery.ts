// Hands envelopes to subscriptions directly, without an event, for a pubsub whose target nobody has asked for yet: then nobody else can
// listen or dispatch there, so that no difference can be seen, and an event costs more than all the rest.
// Does not queue: subscription.ts does.
// Invariants: subscriptions of a pair are served in the order in which they were added; an array that is being walked is never changed.

import type { SubscriptionQueue } from './subscription.js';
import type { EventEnvelope } from './types.js';

type Queue = SubscriptionQueue<EventEnvelope>;

export class LocalDelivery {
  readonly #byType = new Map<string, Map<string, readonly Queue[]>>();

  add(type: string, id: string, queue: Queue): void {
    const byId = this.#byType.get(type) ?? new Map<string, readonly Queue[]>();
    this.#byType.set(type, byId);
    byId.set(id, [...(byId.get(id) ?? []), queue]);
  }

  remove(type: string, id: string, queue: Queue): void {
    const byId = this.#byType.get(type);
    const rest = byId?.get(id)?.filter((other) => other !== queue) ?? [];
    if (rest.length > 0) byId?.set(id, rest);
    else if (byId?.delete(id) && byId.size === 0) this.#byType.delete(type);
  }

  deliver(envelope: EventEnvelope): void {
    const queues = this.#byType.get(envelope.type)?.get(envelope.id);
    if (queues === undefined) return;
    for (let i = 0; i < queues.length; i++) (queues[i] as Queue).push(envelope);
  }
}
