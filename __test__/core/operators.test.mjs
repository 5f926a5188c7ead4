// What every operator promises alike (leaving, errors, concurrent pulls, misuse), and what each does: contract section 3.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
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
  reduce,
  take,
  toArray,
  window,
} from '../../dist/index.js';
import { done, ListSource, numbersTo, PushedSource, readAll, SilentSource, settled } from './sources.mjs';

/** Each with what it makes of 0, 1, 2, 3 (readable as JSON), and with a callback of its own that throws, where it has one. */
const operators = {
  filter: { make: () => filter((n) => n !== 1), gives: [0, 2, 3], broken: (fn) => filter(fn) },
  map: { make: () => map((n) => n * 2), gives: [0, 2, 4, 6], broken: (fn) => map(fn) },
  take: { make: () => take(9), gives: [0, 1, 2, 3] },
  batch: { make: () => batch(3), gives: [[0, 1, 2], [3]] },
  'batch by time': { make: () => batch(3, { maxDelayMs: 60_000 }), gives: [[0, 1, 2], [3]] },
  dedupe: { make: () => dedupe((n) => n % 3), gives: [0, 1, 2], broken: (fn) => dedupe(fn) },
  window: {
    make: () => window(2),
    gives: [
      [0, 1],
      [1, 2],
      [2, 3],
    ],
  },
  flat: { make: () => flat(), gives: [0, 1, 2, 3] },
  groupBy: {
    make: () => groupBy((n) => n),
    gives: [
      [0, {}],
      [1, {}],
      [2, {}],
      [3, {}],
    ],
    broken: (fn) => groupBy(fn),
  },
  chain: { make: () => chain(), gives: [0, 1, 2, 3] },
  join: { make: () => join(), gives: [0, 1, 2, 3] },
};

for (const [name, { make, gives, broken }] of Object.entries(operators)) {
  suite(name, () => {
    test('makes of a source what it should, and then ends for good', async () => {
      const stream = make()(new ListSource([0, 1, 2, 3]));
      const { items, error } = await readAll(stream);
      assert.equal(error, undefined);
      assert.deepEqual(JSON.parse(JSON.stringify(items)), gives);
      assert.deepEqual(await stream.next(), done);
      assert.deepEqual(await stream.return(), done);
    });

    test('a source that has ended by itself is not left', async () => {
      const source = new ListSource([0, 1, 2, 3]);
      const stream = make()(source);
      await readAll(stream);
      await stream.return();
      assert.equal(source.returns, 0);
    });

    test('an error of the source comes after what came before it, once, and the source is not left', async () => {
      const mine = new Error('mine');
      const source = new ListSource([0, 1, 2, 3], { error: mine });
      const stream = make()(source);
      const { items, error } = await readAll(stream);
      assert.deepEqual(JSON.parse(JSON.stringify(items)), gives);
      assert.equal(error, mine);
      assert.deepEqual(await stream.next(), done);
      assert.equal(source.returns, 0);
    });

    test('leaving the loop leaves the source, once, before the loop is over', async () => {
      const source = new ListSource([0, 1, 2, 3, 4, 5, 6]);
      const stream = make()(source);
      for await (const _ of stream) break;
      assert.equal(source.returns, 1);
      await stream.return();
      await stream[Symbol.asyncDispose]();
      assert.equal(source.returns, 1);
      assert.deepEqual(await stream.next(), done);
    });

    test('a loop that throws leaves the source and passes its own error on', async () => {
      const source = new ListSource([0, 1, 2, 3]);
      const mine = new Error('mine');
      await assert.rejects(async () => {
        for await (const _ of make()(source)) throw mine;
      }, mine);
      assert.equal(source.returns, 1);
    });

    test('throw() leaves the source and rejects with its argument', async () => {
      const source = new ListSource([0, 1, 2, 3]);
      const mine = new Error('mine');
      const stream = make()(source);
      await assert.rejects(stream.throw(mine), mine);
      assert.equal(source.returns, 1);
      assert.deepEqual(await stream.next(), done);
    });

    test('leaving before the first pull leaves the source: a subscription listens already', async () => {
      const { subscribe, eventTarget } = createPubSub({ eventTarget: new CountingTarget() });
      const stream = make()(subscribe('a', 'b'));
      assert.equal(eventTarget.listeners, 1);
      assert.deepEqual(await stream.return(), done);
      assert.equal(eventTarget.listeners, 0);
    });

    test('return() ends pulls that wait, and leaves a source that is silent', async () => {
      const source = new PushedSource();
      const stream = make()(source);
      const pulls = [stream.next(), stream.next(), stream.next()];
      await settled();
      assert.deepEqual(await stream.return(), done);
      assert.deepEqual(await Promise.all(pulls), [done, done, done]);
      assert.equal(source.returns, 1);
    });

    test('a source that answers nothing, not even return(), holds no pull', async () => {
      const source = new SilentSource();
      const stream = make()(source);
      const pull = stream.next();
      await settled();
      void stream.return();
      assert.deepEqual(await pull, done);
      assert.equal(source.returns, 1);
    });

    test('what goes wrong in leaving the source is told to whoever leaves', async () => {
      const mine = new Error('mine');
      const stream = make()(new ListSource([0, 1], { leaveError: mine }));
      await assert.rejects(stream.return(), mine);
      assert.deepEqual(await stream.next(), done);
    });

    test('pulls at the same time are served in the order in which they were made', async () => {
      const stream = make()(new ListSource([0, 1, 2, 3]));
      const pulls = Array.from({ length: gives.length + 2 }, () => stream.next());
      const results = await Promise.all(pulls);
      assert.deepEqual(JSON.parse(JSON.stringify(results.slice(0, -2).map(({ value }) => value))), gives);
      assert.deepEqual(results.slice(-2), [done, done]);
    });

    test('of pulls that wait when the source fails, the first gets the error, the others the end', async () => {
      const mine = new Error('mine');
      const source = new PushedSource();
      const stream = make()(source);
      const pulls = [stream.next(), stream.next()];
      source.fail(mine);
      const [first, second] = await Promise.allSettled(pulls);
      assert.equal(first.reason, mine);
      assert.deepEqual(second.value, done);
    });

    test('nothing is read before the first pull', async () => {
      const source = new ListSource([0, 1]);
      make()(source);
      await settled();
      assert.equal(source.pulls, 0);
    });

    test('what is no source throws at once or at the first pull, and says so', async () => {
      const error = { name: 'TypeError', code: 'ERR_INVALID_OPTION', message: /reads an async iterable, got an array/ };
      await assert.rejects(async () => await make()([1]).next(), error);
    });

    if (broken === undefined) return;

    for (const [kind, fail] of Object.entries({
      throws: (error) => () => {
        throw error;
      },
      rejects: (error) => async () => {
        throw error;
      },
    })) {
      test(`a callback that ${kind} ends the stream with its error, after the source was left`, async () => {
        const mine = new Error('mine');
        const source = new ListSource([0, 1]);
        const stream = broken(fail(mine))(source);
        let returnsWhenTold;
        await assert.rejects(
          stream.next().catch((error) => {
            returnsWhenTold = source.returns;
            throw error;
          }),
          mine,
        );
        assert.equal(returnsWhenTold, 1);
        assert.deepEqual(await stream.next(), done);
      });
    }

    test('the error of a callback is not hidden by one of leaving', async () => {
      const mine = new Error('mine');
      const source = new ListSource([0, 1], { leaveError: new Error('of leaving') });
      const stream = broken(() => Promise.reject(mine))(source);
      await assert.rejects(stream.next(), mine);
    });

    test('callbacks run one at a time and in order, however long each takes', async () => {
      let running = 0;
      let most = 0;
      const order = [];
      const stream = broken(async (n) => {
        most = Math.max(most, ++running);
        for (let i = n; i < 4; i++) await settled();
        order.push(n);
        running--;
        return true;
      })(new ListSource([0, 1, 2, 3]));
      await Promise.all([stream.next(), stream.next(), stream.next(), stream.next(), stream.next()]);
      assert.deepEqual([most, order], [1, [0, 1, 2, 3]]);
    });

    test('what is no function throws at once', () => {
      for (const fn of [null, 5, 'text', {}])
        assert.throws(() => broken(fn), {
          name: 'TypeError',
          code: 'ERR_INVALID_OPTION',
          message: /must be a function/,
        });
    });
  });
}

/** A target that says how many listeners it has. */
class CountingTarget extends EventTarget {
  listeners = 0;

  addEventListener(...args) {
    this.listeners++;
    super.addEventListener(...args);
  }

  removeEventListener(...args) {
    this.listeners--;
    super.removeEventListener(...args);
  }
}

test('numbers that nothing can be done with throw a RangeError with a code, at once', () => {
  const bad = [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '5', null, 2 ** 53];
  const badWithZero = [0, ...bad];
  const cases = [
    [(n) => take(n), bad],
    [(n) => batch(n), badWithZero],
    [(n) => batch(1, { maxDelayMs: n }), [...bad, 2 ** 31]],
    [(n) => window(n), badWithZero],
    [(n) => window(2, n), badWithZero],
    [(n) => dedupe(undefined, { maxKeys: n }), badWithZero],
    [(n) => groupBy(String, { maxKeys: n }), badWithZero],
    [(n) => groupBy(String, { maxQueued: n }), badWithZero],
  ];
  for (const [make, values] of cases)
    for (const value of values)
      assert.throws(() => make(value), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' }, `${make} ${value}`);
  assert.throws(() => batch(-5), { message: 'size must be a whole number of at least 1, got -5' });
});

test('options that are unknown throw', () => {
  for (const make of [
    () => batch(1, { delay: 1 }),
    () => dedupe(String, { max: 1 }),
    () => groupBy(String, { max: 1 }),
  ])
    assert.throws(make, { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
});

// ---- One by one ----

test('take leaves the source with its last item, before that was looked at', async () => {
  const source = new ListSource([1, 2, 3]);
  const stream = take(2)(source);
  await stream.next();
  assert.equal(source.returns, 0);
  assert.deepEqual(await stream.next(), { value: 2, done: false });
  assert.deepEqual([source.returns, source.pulls], [1, 2]);
  assert.deepEqual(await stream.next(), done);
});

test('take passes an error of leaving on after its last item', async () => {
  const mine = new Error('mine');
  const { items, error } = await readAll(take(1)(new ListSource([1, 2], { leaveError: mine })));
  assert.deepEqual([items, error], [[1], mine]);
});

test('take of nothing reads nothing and leaves the source', async () => {
  const source = new ListSource([1]);
  assert.deepEqual(await readAll(take(0)(source)), { items: [], error: undefined });
  assert.deepEqual([source.pulls, source.returns], [0, 1]);
});

test('dedupe without a key compares items as a Set does', async () => {
  const object = {};
  const items = [Number.NaN, 0, -0, Number.NaN, object, { ...object }, object, '0'];
  assert.deepEqual((await readAll(dedupe()(new ListSource(items)))).items, [Number.NaN, 0, object, {}, '0']);
});

test('dedupe forgets the key that was seen longest ago', async () => {
  const seen = async (items, maxKeys) =>
    (await readAll(dedupe(undefined, { maxKeys })(new ListSource(items)))).items.join('');
  assert.equal(await seen('abab', 2), 'ab');
  assert.equal(await seen('abcab', 2), 'abcab');
  // "a" was seen again before "c" came: "b" is the one to go.
  assert.equal(await seen('abacab', 2), 'abcb');
  assert.equal(await seen('aabba', 1), 'aba');
});

test('window gives whole windows only, with gaps between them when the step is larger', async () => {
  const windows = async (count, ...args) => (await readAll(window(...args)(new ListSource(numbersTo(count))))).items;
  assert.deepEqual(await windows(2, 3), []);
  assert.deepEqual(await windows(5, 2, 2), [
    [0, 1],
    [2, 3],
  ]);
  assert.deepEqual(await windows(8, 2, 3), [
    [0, 1],
    [3, 4],
    [6, 7],
  ]);
  assert.deepEqual(await windows(3, 1), [[0], [1], [2]]);
});

test('a window is the consumer’s own array', async () => {
  const stream = window(3)(new ListSource(numbersTo(5)));
  const { value } = await stream.next();
  value.length = 0;
  assert.deepEqual((await stream.next()).value, [1, 2, 3]);
});

test('flat opens arrays, sets, streams, one level deep, and leaves strings and all else whole', async () => {
  async function* letters() {
    yield 'x';
    yield 'y';
  }
  const items = [[1, [2]], new Set([3]), letters(), 'text', 5, null, undefined, [], { a: 1 }];
  const { items: flattened } = await readAll(flat()(new ListSource(items)));
  assert.deepEqual(flattened, [1, [2], 3, 'x', 'y', 'text', 5, null, undefined, { a: 1 }]);
});

test('leaving flat leaves the inner source and the outer one, and an inner error ends all', async () => {
  const outer = new ListSource([new ListSource([1, 2, 3])]);
  const [inner] = [new ListSource([1, 2, 3])];
  const source = new ListSource([inner]);
  for await (const _ of flat()(source)) break;
  assert.deepEqual([inner.returns, source.returns], [1, 1]);
  assert.equal(outer.returns, 0);

  const mine = new Error('mine');
  const broken = new ListSource([new ListSource([1], { error: mine }), [2]]);
  const { items, error } = await readAll(flat()(broken));
  assert.deepEqual([items, error, broken.returns], [[1], mine, 1]);
});

test('leaving flat tells what went wrong in leaving the inner source, and leaves the outer one all the same', async () => {
  const mine = new Error('mine');
  const source = new ListSource([new ListSource([1, 2], { leaveError: mine })]);
  const stream = flat()(source);
  await stream.next();
  await assert.rejects(stream.return(), mine);
  assert.equal(source.returns, 1);
});

test('what a source gives after it was left is nobody’s: flat does not open it', async () => {
  const inner = new ListSource([1]);
  let give;
  const source = {
    [Symbol.asyncIterator]: () => source,
    next: () => new Promise((resolve) => (give = () => resolve({ value: inner, done: false }))),
    return: async () => done,
  };
  const stream = flat()(source);
  const pull = stream.next();
  await settled();
  await stream.return();
  give();
  await settled();
  assert.deepEqual(await pull, done);
  assert.equal(inner.pulls, 0);
});

test('reduce and toArray read to the end and give a promise', async () => {
  assert.equal(await reduce((sum, n) => sum + n, 10)(new ListSource([1, 2, 3])), 16);
  assert.equal(await reduce(async (text, n) => `${text}${n}`, '')(new ListSource([1, 2, 3])), '123');
  assert.equal(await reduce(() => assert.fail('no item'), 'initial')(new ListSource([])), 'initial');
  assert.deepEqual(await toArray()(new ListSource([1, undefined, 3])), [1, undefined, 3]);
  assert.throws(() => reduce(undefined, 0), { code: 'ERR_INVALID_OPTION' });
  await assert.rejects(toArray()([1]), { code: 'ERR_INVALID_OPTION' });
});

test('reduce and toArray reject with the error of the source, reduce with that of its callback, and the source is left', async () => {
  const mine = new Error('mine');
  await assert.rejects(toArray()(new ListSource([1], { error: mine })), mine);
  await assert.rejects(reduce((a) => a, 0)(new ListSource([1], { error: mine })), mine);
  const source = new ListSource([1, 2]);
  await assert.rejects(reduce(() => Promise.reject(mine), 0)(source), mine);
  assert.equal(source.returns, 1);
});

test('pipe strings operators together and leaves the source through all of them', async () => {
  const source = new ListSource(numbersTo(100));
  const made = await pipe(
    source,
    filter((n) => n % 2 === 0),
    map(async (n) => n + 1),
    batch(2),
    flat(),
    window(2),
    map(([a, b]) => a * b),
    dedupe(),
    chain(new ListSource(['end'])),
    take(4),
    toArray(),
  );
  assert.deepEqual(made, [1 * 3, 3 * 5, 5 * 7, 7 * 9]);
  assert.equal(source.returns, 1);
});

test('pipe without operators gives the source, and takes any function of one argument', async () => {
  const source = new ListSource([1]);
  assert.equal(pipe(source), source);
  assert.equal(
    pipe(source, (given) => given === source),
    true,
  );
});

test('pipe throws at once for what is no source and for what is no function', () => {
  assert.throws(() => pipe([1], take(1)), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
  assert.throws(() => pipe(undefined), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
  assert.throws(() => pipe(new ListSource([]), take), /an operator reads an async iterable|whole number/);
  assert.throws(() => pipe(new ListSource([]), undefined), {
    code: 'ERR_INVALID_OPTION',
    message: 'pipe strings functions together, got undefined',
  });
});

test('operators over a subscription: what was published before the first pull is there, and leaving unsubscribes', async () => {
  const { publish, subscribe, eventTarget } = createPubSub({ eventTarget: new CountingTarget() });
  const texts = pipe(
    subscribe('chat.msg', 'r1'),
    map(({ payload }) => payload),
    filter((text) => text !== 'skip'),
    take(2),
  );
  for (const text of ['one', 'skip', 'two', 'three']) publish('chat.msg', 'r1', text);
  assert.deepEqual((await readAll(texts)).items, ['one', 'two']);
  assert.equal(eventTarget.listeners, 0);
});
