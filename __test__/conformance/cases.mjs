// What every target has to do, as tests over a pair of targets that are connected: whatever `a` publishes `b` hears, and back.
// Does not know any transport. What a target cannot do is a capability here, visible in this one place:
//
// | capability     | meaning                                                                                        |
// |----------------|------------------------------------------------------------------------------------------------|
// | `transport`    | events travel as JSON and names are checked; without it the object itself is passed            |
// | `echo`         | a publisher's own listeners hear what it publishes                                             |
// | `acknowledges` | `ready(topic)` is the answer of a peer that knows, not only "it was written"                   |
// | `small`        | an event has 64 KiB at most: the large payloads are the smaller for it                         |
//
// Tests wait for facts: that something was *not* heard is known when a later event on the same path was.
import { exchange } from './cases/exchange.mjs';
import { lifeCycle } from './cases/life-cycle.mjs';
import { listening } from './cases/listening.mjs';
import { misuse } from './cases/misuse.mjs';
import { payloads } from './cases/payloads.mjs';

/**
 * The suite for one kind of target: sentences and what they claim of a pair `{ a, b }` that is ready.
 * @param {{ transport: boolean, echo: boolean, acknowledges: boolean, small?: boolean }} capabilities
 * @returns {[sentence: string, check: (pair: { a: object, b: object }) => Promise<void>][]}
 */
export function casesOf(capabilities) {
  return [
    ...exchange(capabilities),
    ...listening(capabilities),
    ...payloads(capabilities),
    ...misuse(capabilities),
    ...lifeCycle(capabilities),
  ];
}
