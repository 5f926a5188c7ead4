// The queue behind subscriptions and operators: order, and that nothing taken is held.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Fifo } from '../../dist/fifo.js';
import { LocalDelivery } from '../../dist/local-delivery.js';
import { randomFrom, seedFor } from './random.mjs';
import { settled } from './sources.mjs';

test('random pushes and takes give what an array gives', (t) => {
  const random = randomFrom(seedFor(t));
  const [queue, array] = [new Fifo(), []];
  for (let n = 0; n < 200_000; n++) {
    const isFilling = Math.floor(n / 20_000) % 2 === 0;
    if (random(10) < (isFilling ? 7 : 3)) {
      queue.push(n);
      array.push(n);
    } else assert.equal(queue.shift(), array.shift());
    if (random(50_000) === 0) assert.deepEqual(queue.takeAll(), array.splice(0));
    if (random(50_000) === 0) queue.clear(array.splice(0));
    assert.equal(queue.size, array.length);
  }
  assert.deepEqual(queue.takeAll(), array);
  assert.equal(queue.shift(), undefined);
});

test('an item that was taken is not held by the queue', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const queue = new Fifo();
  const references = [];
  for (let n = 0; n < 100; n++) {
    const item = { n };
    references.push(new WeakRef(item));
    queue.push(item);
  }
  for (let n = 0; n < 50; n++) queue.shift();
  // A WeakRef holds its object to the end of the turn.
  await settled();
  gc();
  const alive = references.map((reference) => reference.deref() !== undefined);
  // The last one that was taken may still stand in a register.
  assert.deepEqual(alive.slice(0, 49), new Array(49).fill(false));
  assert.deepEqual(alive.slice(50), new Array(50).fill(true));
  assert.equal(queue.size, 50);
});

test('local delivery serves the subscriptions of a pair in their order, until each is removed', () => {
  const delivery = new LocalDelivery();
  const log = [];
  const [first, second] = ['first', 'second'].map((name) => ({
    push: ({ payload }) => log.push(`${name} ${payload}`),
  }));
  const deliver = (id, payload) => delivery.deliver({ type: 'a', id, payload });
  delivery.add('a', 'b', first);
  delivery.add('a', 'b', second);
  delivery.add('a', 'c', first);
  deliver('b', 1);
  delivery.remove('a', 'b', first);
  delivery.remove('x', 'y', first);
  deliver('b', 2);
  delivery.remove('a', 'b', second);
  deliver('b', 3);
  deliver('c', 4);
  assert.deepEqual(log, ['first 1', 'second 1', 'second 2', 'first 4']);
});
