// Words of the cases.
import assert from 'node:assert/strict';
import { createEvent } from '../../../dist/index.js';

/** Listens at once and is ready when it may be published to; `next(n)` waits for the next n envelopes. */
export async function listen(target, ...topics) {
  const envelopes = [];
  let wake = () => {};
  const listener = ({ detail }) => {
    envelopes.push(detail);
    wake();
  };
  for (const topic of topics) target.addEventListener(topic, listener);
  await Promise.all(topics.map((topic) => target.ready(topic)));
  const stop = () => {
    for (const topic of topics) target.removeEventListener(topic, listener);
  };
  const next = async (count = 1) => {
    while (envelopes.length < count) await new Promise((resolve) => (wake = resolve));
    return envelopes.splice(0, count);
  };
  return { next, stop, envelopes };
}

export function publish(target, type, id, payload) {
  assert.equal(target.dispatchEvent(createEvent(type, id, payload)), true);
}

export const payloadsOf = (envelopes) => envelopes.map(({ payload }) => payload);
