// The assertions of pages against Node's: whatever one lets pass the other lets pass.
import real from 'node:assert/strict';
import { test } from 'node:test';
import pages from './page/assert.mjs';

const values = [
  ...[undefined, null, 0, -0, 1, Number.NaN, '', 'a', true, [], [1], [1, 2], [undefined], {}, { a: 1 }, { a: 2 }],
  ...[{ b: 1 }, { a: undefined }, { a: { b: [1, { c: null }] } }, { a: { b: [1, { c: 0 }] } }],
];

const passes = (act) => {
  try {
    act();
    return true;
  } catch {
    return false;
  }
};

test('the assertions of pages let pass what those of Node let pass, and nothing else', async () => {
  let compared = 0;
  for (const a of values) {
    real.equal(
      passes(() => pages(a)),
      passes(() => real(a)),
    );
    for (const b of values.map((value) => structuredClone(value))) {
      for (const name of ['equal', 'deepEqual'])
        real.equal(
          passes(() => pages[name](a, b)),
          passes(() => real[name](a, b)),
          `${name}: ${JSON.stringify([a, b])}`,
        );
      compared++;
    }
  }
  real.equal(compared, values.length ** 2);
  const thrower = () => {
    throw Object.assign(new TypeError('no'), { code: 'E' });
  };
  for (const [act, expected] of [
    [thrower, { code: 'E' }],
    [thrower, { name: 'TypeError', message: 'no' }],
    [thrower, { code: 'F' }],
    [() => {}, { code: 'E' }],
  ]) {
    const isRight = passes(() => real.throws(act, expected));
    real.equal(
      passes(() => pages.throws(act, expected)),
      isRight,
    );
    const settle = async () => act();
    const rejects = pages.rejects(settle(), expected).then(
      () => true,
      () => false,
    );
    real.equal(await rejects, isRight);
  }
});
