// Random pipelines against the same on arrays: what is made, and that the source is left exactly when the pipeline stops early.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  batch,
  chain,
  createPubSub,
  dedupe,
  filter,
  flat,
  groupBy,
  join,
  map,
  pipe,
  take,
  toArray,
  window,
} from '../../dist/index.js';
import { randomFrom, seedFor } from './random.mjs';
import { ListSource, numbersTo, readAll, settled } from './sources.mjs';

const ROUNDS = 1500;

const sumOf = (item) => [item].flat(9).reduce((sum, n) => sum + n, 0);

/** Each: makes an operator and its twin on arrays. Items are numbers or arrays of numbers, nested somehow. */
const steps = [
  (random) => {
    const rest = random(3);
    const keep = (item) => sumOf(item) % 3 !== rest;
    return ['filter', filter(sometimesLater(random, keep)), (items) => items.filter(keep)];
  },
  (random) => {
    const fn = (item) => sumOf(item) + 1;
    return ['map', map(sometimesLater(random, fn)), (items) => items.map(fn)];
  },
  (random) => {
    const count = random(30);
    return [`take ${count}`, take(count), (items) => items.slice(0, count)];
  },
  (random) => {
    const size = 1 + random(5);
    const options = random(2) === 0 ? {} : { maxDelayMs: 1_000_000 };
    return [`batch ${size}`, batch(size, options), (items) => windowsOf(items, size, size, true)];
  },
  (random) => {
    const [size, step] = [1 + random(5), 1 + random(5)];
    return [`window ${size} ${step}`, window(size, step), (items) => windowsOf(items, size, step, false)];
  },
  (random) => {
    const keyFn = (item) => sumOf(item) % 7;
    const maxKeys = 1 + random(8);
    return [
      `dedupe ${maxKeys}`,
      dedupe(sometimesLater(random, keyFn), { maxKeys }),
      (items) => deduped(items, keyFn, maxKeys),
    ];
  },
  () => ['flat', flat(), (items) => items.flat()],
];

function chained(random) {
  const others = Array.from({ length: random(3) }, () => numbersTo(random(6)));
  return ['chain', chain(...others.map((items) => new ListSource(items))), (items) => [...items, ...others.flat()]];
}

/** The same function, now and then as a promise, and now and then as a late one. */
function sometimesLater(random, fn) {
  return (item) => {
    const kind = random(8);
    if (kind > 1) return fn(item);
    return kind === 1 ? Promise.resolve(fn(item)) : settled().then(() => fn(item));
  };
}

function windowsOf(items, size, step, withRest) {
  const windows = [];
  for (let at = 0; at < items.length; at += step) {
    const one = items.slice(at, at + size);
    if (one.length === size || withRest) windows.push(one);
  }
  return windows;
}

function deduped(items, keyFn, maxKeys) {
  const known = [];
  return items.filter((item) => {
    const key = keyFn(item);
    const at = known.indexOf(key);
    if (at !== -1) known.splice(at, 1);
    known.push(key);
    if (known.length > maxKeys) known.shift();
    return at === -1;
  });
}

test('random pipelines make what the same on arrays makes', async (t) => {
  const seed = seedFor(t);
  const random = randomFrom(seed);
  for (let round = 0; round < ROUNDS; round++) {
    const items = Array.from({ length: random(40) }, () => random(20));
    const error = random(4) === 0 ? new Error('mine') : undefined;
    // What follows an error in a chain never comes, which arrays cannot tell.
    const kinds = error === undefined ? [...steps, chained] : steps;
    const chosen = Array.from({ length: random(6) }, () => kinds[random(kinds.length)](random));
    const source = new ListSource(items, { error });
    const made = await readAll(pipe(source, ...chosen.map(([, operator]) => operator)));
    const names = `${chosen.map(([name]) => name).join(' | ')}, round ${round}, SEED=${seed}`;
    const expected = chosen.reduce((all, [, , twin]) => twin(all), items);
    assert.deepEqual(made.items, expected, names);
    // Either all was read, up to the end or the error, or the pipeline stopped early and left its source.
    const wasReadToTheEnd = source.pulls > items.length;
    assert.equal(source.returns, wasReadToTheEnd ? 0 : 1, names);
    // A `take` that had enough in the batch before the error does not get to it.
    if (made.error === undefined) assert(error === undefined || names.includes('take'), names);
    else assert(made.error === error && wasReadToTheEnd, names);
  }
});

test('random groups hold what the same on arrays hold, whoever reads them at whatever pace', async (t) => {
  const seed = seedFor(t);
  const random = randomFrom(seed);
  for (let round = 0; round < 300; round++) {
    const items = Array.from({ length: random(200) }, () => random(1000));
    const keys = 1 + random(12);
    const left = random(keys + 1);
    const maxQueued = 1 + random(50);
    const groups = {};
    const readings = [];
    for await (const [key, group] of pipe(
      new ListSource(items),
      groupBy(
        sometimesLater(random, (n) => n % keys),
        { maxQueued },
      ),
    ))
      readings.push(key === left ? group.return() : readSlowly(random, group).then((read) => (groups[key] = read)));
    await Promise.all(readings);
    const expected = {};
    for (const n of items) {
      if (n % keys === left) continue;
      expected[n % keys] ??= [];
      expected[n % keys].push(n);
    }
    assert.deepEqual(groups, expected, `round ${round}, SEED=${seed}`);
  }
});

async function readSlowly(random, stream) {
  const items = [];
  for await (const item of stream) {
    items.push(item);
    for (let n = random(3); n > 0; n--) await settled();
  }
  return items;
}

test('random joins hold every item of every source, each source in its order', async (t) => {
  const seed = seedFor(t);
  const random = randomFrom(seed);
  for (let round = 0; round < 200; round++) {
    const lists = Array.from({ length: 1 + random(5) }, (_, s) => numbersTo(random(30)).map((n) => [s, n]));
    const [first, ...others] = lists.map((list) =>
      pipe(new ListSource(list), map(sometimesLater(random, (item) => item))),
    );
    const made = await pipe(first, join(...others), toArray());
    for (const [s, list] of lists.entries())
      assert.deepEqual(
        made.filter(([from]) => from === s),
        list,
        `round ${round}, SEED=${seed}`,
      );
    assert.equal(made.length, lists.flat().length);
  }
});

test('random subscriptions give what a bounded queue gives, whatever is published and pulled when', async (t) => {
  const seed = seedFor(t);
  const random = randomFrom(seed);
  for (let round = 0; round < 200; round++) {
    const rule = { overflow: ['error', 'drop-oldest', 'drop-newest'][random(3)], maxQueued: 1 + random(8) };
    const { publish, subscribe } = createPubSub();
    const subscription = subscribe('a', 'b', rule);
    const model = new QueueModel(rule);
    const pulls = [];
    for (let n = 0; n < 60; n++) {
      if (random(5) < 2) {
        pulls.push(subscription.next());
        model.pull();
      } else {
        publish('a', 'b', n);
        model.push(n);
      }
    }
    await subscription.return();
    const results = await Promise.allSettled(pulls);
    const given = results.map(({ value, reason }) => (reason === undefined ? value.value?.payload : 'overflow'));
    assert.deepEqual(given, model.given, `${rule.overflow} ${rule.maxQueued}, round ${round}, SEED=${seed}`);
    assert.equal(subscription.dropped, model.dropped);
  }
});

/** Contract section 3 on bounded queues, word by word; `given` has `undefined` for pulls that get the end. */
class QueueModel {
  given = [];
  dropped = 0;
  #queue = [];
  #waiting = [];
  #isOver = false;
  #rule;

  constructor(rule) {
    this.#rule = rule;
  }

  pull() {
    if (this.#queue.length === 0) this.#waiting.push(this.given.length);
    this.given.push(this.#queue.shift());
  }

  push(n) {
    if (this.#isOver) return;
    if (this.#waiting.length > 0) this.given[this.#waiting.shift()] = n;
    else if (this.#queue.length < this.#rule.maxQueued) this.#queue.push(n);
    else this.#overflow(n);
  }

  #overflow(n) {
    if (this.#rule.overflow === 'error') {
      this.#isOver = true;
      this.#queue.push('overflow');
      return;
    }
    this.dropped++;
    if (this.#rule.overflow === 'drop-newest') return;
    this.#queue.shift();
    this.#queue.push(n);
  }
}
