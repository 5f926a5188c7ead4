// The way round events that some of our targets offer to createPubSub: what is published goes in as an envelope.
// Invariant: it does what `dispatchEvent` would do with the event of the envelope, also when somebody has put something in its place.

import type { EventEnvelope } from './types.js';

/** Publishes an envelope as `dispatchEvent` would its event; false when the event is needed. */
export const dispatchEnvelope: unique symbol = Symbol('dispatchEnvelope');

export interface Direct {
  [dispatchEnvelope](topic: string, envelope: EventEnvelope): boolean;
}
