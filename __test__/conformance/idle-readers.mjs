// Readers that pull nothing while a hundred thousand events come, one for each overflow rule: contract section 3.
import assert from 'node:assert/strict';
import { SlowConsumerError } from '../../dist/index.js';

const EVENTS = 100_000;

/** Events published at a time: no transport's bound is to be met here, only those of the readers. */
const CHUNK = 1000;

/** The default bound of a subscription, docs/limits.md. */
const DEFAULT_MAX_QUEUED = 16_384;

/** @param publishAll publishes numbers as payloads of "a", "b", and resolves when a listener beside the readers has heard them */
export async function checkIdleReaders(pubsub, publishAll) {
  const failing = pubsub.subscribe('a', 'b');
  const oldest = pubsub.subscribe('a', 'b', { overflow: 'drop-oldest', maxQueued: 10 });
  const newest = pubsub.subscribe('a', 'b', { overflow: 'drop-newest', maxQueued: 10 });
  await Promise.all([failing, oldest, newest].map(({ ready }) => ready));
  for (let n = 0; n < EVENTS; n += CHUNK) await publishAll(Array.from({ length: CHUNK }, (_, i) => n + i));
  await assert.rejects(readTo(failing, DEFAULT_MAX_QUEUED), SlowConsumerError);
  assert.equal((await failing.next()).done, true);
  assert.deepEqual([failing.dropped, oldest.dropped, newest.dropped], [0, EVENTS - 10, EVENTS - 10]);
  for (const [reader, first] of [
    [oldest, EVENTS - 10],
    [newest, 0],
  ]) {
    for (let i = 0; i < 10; i++) assert.equal((await reader.next()).value.payload, first + i);
    await reader.return();
  }
}

/** Reads so many numbers in their order, and then one more. */
async function readTo(reader, count) {
  for (let n = 0; n < count; n++) assert.equal((await reader.next()).value.payload, n);
  await reader.next();
}
