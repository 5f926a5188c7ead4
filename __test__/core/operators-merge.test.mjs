// chain and join: several sources, and who is left when.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chain, createPubSub, join, pipe, take, toArray } from '../../dist/index.js';
import { done, ListSource, PushedSource, readAll, settled } from './sources.mjs';

// ---- chain ----

test('chain reads one source after the other, and the next only when the one before has ended', async () => {
  const [first, second, third] = [new PushedSource(), new ListSource([3]), new ListSource([4, 5])];
  const stream = pipe(first, chain(second, third));
  const pull = stream.next();
  await settled();
  assert.equal(second.pulls, 0);
  first.push(1);
  first.end();
  assert.deepEqual(await pull, { value: 1, done: false });
  assert.deepEqual((await readAll(stream)).items, [3, 4, 5]);
  assert.deepEqual([first.returns, second.returns, third.returns], [0, 0, 0]);
});

test('leaving a chain leaves the sources that have not ended, those too that were not begun', async () => {
  const [first, second, third] = [new ListSource([1]), new ListSource([2, 3]), new ListSource([4])];
  const stream = pipe(first, chain(second, third));
  await stream.next();
  await stream.next();
  await stream.return();
  assert.deepEqual([first.returns, second.returns, third.returns], [0, 1, 1]);
});

test('an error in a chain comes in its place, and the sources behind it are left', async () => {
  const mine = new Error('mine');
  const [first, second] = [new ListSource([1], { error: mine }), new ListSource([2])];
  const { items, error } = await readAll(pipe(first, chain(second)));
  assert.deepEqual([items, error, first.returns, second.returns], [[1], mine, 0, 1]);
});

test('a subscription in a chain queues what comes before its turn', async () => {
  const { publish, subscribe } = createPubSub();
  const stream = pipe(new ListSource(['history']), chain(subscribe('a', 'b')));
  publish('a', 'b', 'early');
  assert.equal((await stream.next()).value, 'history');
  assert.equal((await stream.next()).value.payload, 'early');
  await stream.return();
});

// ---- join ----

test('join gives items in the order in which they come', async () => {
  const [left, right] = [new PushedSource(), new PushedSource()];
  const stream = pipe(left, join(right));
  const pulls = [stream.next(), stream.next(), stream.next()];
  right.push('r1');
  await settled();
  left.push('l1');
  await settled();
  right.push('r2');
  assert.deepEqual(
    (await Promise.all(pulls)).map(({ value }) => value),
    ['r1', 'l1', 'r2'],
  );
  await stream.return();
});

test('join asks each source for one item at a time and holds no more than that', async () => {
  const [left, right] = [new PushedSource(), new PushedSource()];
  left.push('l1', 'l2', 'l3');
  right.push('r1', 'r2', 'r3');
  const stream = pipe(left, join(right));
  await settled();
  assert.deepEqual([left.queued, right.queued], [3, 3]);
  await stream.next();
  await settled();
  assert.deepEqual([left.queued, right.queued], [2, 2]);
  await stream.next();
  await settled();
  // The second pull has given what had been read from the other side, and has asked this side again.
  assert.equal(left.queued + right.queued, 3);
});

test('no source of join is starved by one that always has something', async () => {
  const busy = new ListSource(Array.from({ length: 1000 }, () => 'busy'));
  const quiet = new ListSource(['a', 'b', 'c']);
  const items = await pipe(busy, join(quiet), take(12), toArray());
  assert.deepEqual(
    items.filter((item) => item !== 'busy'),
    ['a', 'b', 'c'],
  );
});

test('join ends when all sources have ended', async () => {
  const [left, right] = [new PushedSource(), new ListSource([1, 2])];
  const stream = pipe(left, join(right));
  const reading = readAll(stream);
  await settled();
  left.push(3);
  left.end();
  assert.deepEqual((await reading).items, [1, 2, 3]);
  assert.deepEqual([left.returns, right.returns], [0, 0]);
  assert.deepEqual((await readAll(pipe(new ListSource([]), join()))).items, []);
});

test('one failing source ends a join: what came before is given first, the others are left at once', async () => {
  const mine = new Error('mine');
  const [left, right, third] = [new PushedSource(), new PushedSource(), new PushedSource()];
  const stream = pipe(left, join(right, third));
  const first = stream.next();
  await settled();
  left.push('l1');
  assert.equal((await first).value, 'l1');
  right.push('r1');
  await settled();
  third.fail(mine);
  await settled();
  // Nobody has pulled since: the others are free all the same.
  assert.deepEqual([right.returns, third.returns], [1, 0]);
  assert.equal((await stream.next()).value, 'r1');
  await assert.rejects(stream.next(), mine);
  assert.deepEqual(await stream.next(), done);
  assert.deepEqual([left.returns, right.returns], [1, 1]);
});

test('a second failure of a join is not told, and what comes after the first is dropped', async () => {
  const [left, right] = [new PushedSource(), new PushedSource()];
  const stream = pipe(left, join(right));
  const pull = stream.next();
  await settled();
  left.fail(new Error('first'));
  right.fail(new Error('second'));
  await assert.rejects(pull, { message: 'first' });
  assert.deepEqual(await stream.next(), done);
});

test('leaving a join leaves every source, and rejects with the first error of leaving', async () => {
  const mine = new Error('mine');
  const sources = [new ListSource([1]), new ListSource([2], { leaveError: mine }), new ListSource([3])];
  const stream = pipe(sources[0], join(sources[1], sources[2]));
  await stream.next();
  await assert.rejects(stream.return(), mine);
  assert.deepEqual(
    sources.map(({ returns }) => returns),
    [1, 1, 1],
  );
});

test('a hundred sources join without losing an item', async () => {
  const sources = Array.from({ length: 100 }, (_, s) => new ListSource(Array.from({ length: 20 }, (_, n) => [s, n])));
  const [first, ...others] = sources;
  const items = await pipe(first, join(...others), toArray());
  assert.equal(items.length, 2000);
  for (let s = 0; s < 100; s++)
    assert.deepEqual(
      items.filter(([from]) => from === s).map(([, n]) => n),
      Array.from({ length: 20 }, (_, n) => n),
    );
});

test('what is no source among the others throws at once', () => {
  for (const make of [chain, join]) {
    assert.throws(() => make(new ListSource([]), [1]), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
    assert.throws(() => make(undefined), { code: 'ERR_INVALID_OPTION' });
  }
});
