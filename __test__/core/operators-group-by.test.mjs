// groupBy: who gets an item, when the source is read, and what follows from leaving a group.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupBy, map, pipe, take, toArray } from '../../dist/index.js';
import { done, ListSource, numbersTo, PushedSource, readAll, settled } from './sources.mjs';

const parity = (n) => (n % 2 === 0 ? 'even' : 'odd');

test('each key gets a stream when its first item comes, and each item goes to the stream of its key, in order', async () => {
  const source = new ListSource(numbersTo(10));
  const groups = {};
  const readings = [];
  for await (const [key, group] of pipe(source, groupBy(parity)))
    readings.push(pipe(group, toArray()).then((items) => (groups[key] = items)));
  await Promise.all(readings);
  assert.deepEqual(groups, { even: [0, 2, 4, 6, 8], odd: [1, 3, 5, 7, 9] });
  assert.equal(source.returns, 0);
});

test('groups may be read after the source has ended, and one after the other', async () => {
  const groups = await pipe(new ListSource(numbersTo(10)), groupBy(parity), toArray());
  assert.deepEqual(await Promise.all(groups.map(async ([key, group]) => [key, (await readAll(group)).items])), [
    ['even', [0, 2, 4, 6, 8]],
    ['odd', [1, 3, 5, 7, 9]],
  ]);
});

test('keys are compared as in a Map', async () => {
  const object = {};
  const keys = [0, -0, Number.NaN, Number.NaN, object, object, '0', undefined, undefined];
  const seen = await pipe(
    new ListSource(keys),
    groupBy((key) => key),
    map(([key]) => key),
    toArray(),
  );
  assert.deepEqual(seen, [0, Number.NaN, object, '0', undefined]);
});

test('the source is read while somebody waits, in whichever stream, and not otherwise', async () => {
  const source = new ListSource([0, 1, 2, 3, 4]);
  const groups = groupBy(parity)(source);
  await settled();
  assert.equal(source.pulls, 0);
  const { value: first } = await groups.next();
  assert.equal(source.pulls, 1);
  const even = first[1];
  assert.deepEqual(await even.next(), { value: 0, done: false });
  assert.equal(source.pulls, 1);
  // The next even number is behind an odd one: that makes a group which nobody has asked for yet.
  assert.deepEqual(await even.next(), { value: 2, done: false });
  assert.equal(source.pulls, 3);
  const { value: second } = await groups.next();
  assert.equal(second[0], 'odd');
  assert.deepEqual(await second[1].next(), { value: 1, done: false });
  assert.equal(source.pulls, 3);
  await groups.return();
});

test('pulls at the same time, in several groups, are served in the order of each group', async () => {
  const source = new PushedSource();
  const groups = groupBy(parity)(source);
  source.push(0, 1);
  const [[, even], [, odd]] = [(await groups.next()).value, (await groups.next()).value];
  const pulls = [even.next(), odd.next(), even.next(), even.next(), odd.next()];
  source.push(2, 3, 4, 5);
  assert.deepEqual(
    (await Promise.all(pulls)).map(({ value }) => value),
    [0, 1, 2, 4, 3],
  );
  const waiting = [even.next(), odd.next(), groups.next()];
  source.end();
  // The 5 was queued in its group.
  assert.deepEqual(await Promise.all(waiting), [done, { value: 5, done: false }, done]);
});

// ---- Back-pressure ----

test('when maxQueued items wait, the source is not read until one was taken, and nothing is lost', async () => {
  const source = new ListSource([0, ...Array.from({ length: 50 }, () => 1), 2]);
  const groups = groupBy(parity, { maxQueued: 10 })(source);
  const even = (await groups.next()).value[1];
  const [zero, two] = [even.next(), even.next()];
  assert.deepEqual(await zero, { value: 0, done: false });
  await settled();
  // One even number was taken, ten odd ones wait, and the reader of even numbers with them.
  assert.equal(source.pulls, 11);
  const odd = (await groups.next()).value[1];
  for (let n = 1; n <= 40; n++) {
    await odd.next();
    await settled();
    assert.equal(source.pulls, 11 + n);
  }
  await odd.next();
  assert.deepEqual(await two, { value: 2, done: false });
  const rest = readAll(odd);
  await even.return();
  assert.equal((await rest).items.length, 9);
});

test('a group that was left holds up nobody: its items are thrown away', async () => {
  const source = new ListSource([0, ...Array.from({ length: 10_000 }, () => 1), 2]);
  const groups = groupBy(parity, { maxQueued: 4 })(source);
  const even = (await groups.next()).value[1];
  assert.equal((await even.next()).value, 0);
  const two = even.next();
  await settled();
  const odd = (await groups.next()).value[1];
  assert.deepEqual(await odd.return(), done);
  assert.deepEqual(await two, { value: 2, done: false });
  assert.deepEqual(await odd.next(), done);
  assert.equal(source.returns, 0);
});

test('a group that was left does not come again, and its pulls end', async () => {
  const source = new PushedSource();
  const groups = groupBy(parity)(source);
  source.push(1);
  const odd = (await groups.next()).value[1];
  await odd.next();
  const pulls = [odd.next(), odd.next()];
  await settled();
  await odd.return();
  assert.deepEqual(await Promise.all(pulls), [done, done]);
  const next = groups.next();
  source.push(3, 5, 2);
  assert.equal((await next).value[0], 'even');
  await groups.return();
});

test('with one key more than maxKeys, the group that got no item for longest ends after what waits in it', async () => {
  const groups = groupBy((text) => text[0], { maxKeys: 2 })(new ListSource(['a1', 'b1', 'a2', 'c1', 'b2', 'a3']));
  const seen = [];
  for await (const [key, group] of groups) seen.push([key, readAll(group)]);
  const read = [];
  for (const [key, reading] of seen) read.push([key, (await reading).items]);
  // At c1 group b ends; at b2 group a does; at a3 group c.
  assert.deepEqual(read, [
    ['a', ['a1', 'a2']],
    ['b', ['b1']],
    ['c', ['c1']],
    ['b', ['b2']],
    ['a', ['a3']],
  ]);
});

// ---- Leaving ----

test('leaving the stream of groups before any is read leaves the source', async () => {
  const source = new ListSource(numbersTo(10));
  for await (const _ of pipe(source, groupBy(parity))) break;
  assert.equal(source.returns, 1);
});

test('leaving the stream of groups lets those go on that are read, ends the others, and new keys go to nobody', async () => {
  const source = new PushedSource();
  const groups = groupBy((n) => n % 3)(source);
  source.push(0, 1);
  const [[, zeros], [, ones]] = [(await groups.next()).value, (await groups.next()).value];
  assert.equal((await zeros.next()).value, 0);
  const next = zeros.next();
  await groups.return();
  assert.equal(source.returns, 0);
  source.push(2, 4, 3);
  assert.deepEqual(await next, { value: 3, done: false });
  // Its reading had not begun: it ended with what waited in it.
  assert.deepEqual((await readAll(ones)).items, [1]);
  assert.deepEqual(await groups.next(), done);
  await zeros.return();
  assert.equal(source.returns, 1);
});

test('a group that nobody has got yet is dropped when the stream of groups is left', async () => {
  const source = new PushedSource();
  const groups = groupBy(parity, { maxQueued: 2 })(source);
  source.push(0, 1, 1, 1, 2);
  const even = (await groups.next()).value[1];
  await even.next();
  const two = even.next();
  await settled();
  // Two odd numbers wait in a group that was never asked for.
  assert.equal(source.queued, 2);
  await groups.return();
  assert.deepEqual(await two, { value: 2, done: false });
  await even.return();
  assert.equal(source.returns, 1);
});

test('the source is left when the last group was, and a pull of it that is pending changes nothing', async () => {
  const source = new PushedSource();
  const groups = groupBy(parity)(source);
  source.push(0, 1);
  const [[, even], [, odd]] = [(await groups.next()).value, (await groups.next()).value];
  await even.next();
  await odd.next();
  const pulls = [even.next(), odd.next()];
  await groups.return();
  await even.return();
  assert.equal(source.returns, 0);
  await odd.return();
  assert.equal(source.returns, 1);
  assert.deepEqual(await Promise.all(pulls), [done, done]);
});

test('take of groups gives so many, and the last of them has at least what came first', async () => {
  const source = new ListSource(numbersTo(9));
  const read = [];
  for await (const [key, group] of pipe(
    source,
    groupBy((n) => n % 3),
    take(2),
  ))
    read.push(readAll(group).then(({ items }) => [key, items]));
  assert.deepEqual(await Promise.all(read), [
    [0, [0, 3, 6]],
    [1, [1]],
  ]);
});

// ---- Errors ----

test('an error of the source comes to every stream after what waits in it', async () => {
  const mine = new Error('mine');
  const groups = groupBy(parity)(new ListSource([0, 1, 2, 3], { error: mine }));
  const even = (await groups.next()).value[1];
  const odd = (await groups.next()).value[1];
  await assert.rejects(groups.next(), mine);
  assert.deepEqual(await groups.next(), done);
  assert.deepEqual(await readAll(even), { items: [0, 2], error: mine });
  assert.deepEqual(await readAll(odd), { items: [1, 3], error: mine });
});

test('an error of keyFn ends all, and the source is left', async () => {
  const mine = new Error('mine');
  const source = new ListSource([0, 1, 2]);
  const groups = groupBy(async (n) => (n < 1 ? 'small' : Promise.reject(mine)))(source);
  const small = (await groups.next()).value[1];
  await assert.rejects(groups.next(), mine);
  assert.deepEqual(await readAll(small), { items: [0], error: mine });
  assert.equal(source.returns, 1);
});
