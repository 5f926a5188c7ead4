// A small run of `npm run chaos`, with real processes, links and faults; and that its schedule follows from the seed.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { describe, makeSchedule } from '../../chaos/schedule.mjs';
import { seedFor } from '../core/random.mjs';

const main = fileURLToPath(new URL('../../chaos/main.mjs', import.meta.url));
/** A run that takes longer hangs. */
const PATIENCE_MS = 120_000;

const few = { cuts: 6, stalls: 3, lags: 2, restarts: 2, rests: 2, floods: 1 };

function chaos(options) {
  const args = Object.entries(options).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : [`--${name}`, value],
  );
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [main, '--no-build', ...args.map(String)],
      { timeout: PATIENCE_MS },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : (error.signal ?? error.code), stdout, stderr }),
    );
  });
}

test('20 000 events under 16 faults: nothing twice, nothing out of order, no hole unexplained', async (t) => {
  const seed = seedFor(t);
  const { code, stdout, stderr } = await chaos({ seed, events: 20_000, rate: 4000, ...few });
  assert.equal(code, 0, `${stdout}${stderr}`);
  const value = (name) => Number(new RegExp(`^${name} +(\\d+)$`, 'm').exec(stdout)?.[1]);
  for (const name of ['unexplained', 'duplicates', 'reorderings', 'events of nobody', 'other trouble'])
    assert.equal(value(name), 0, stdout);
  assert.ok(value('deliveries') > 50_000, stdout);
  assert.ok(value('gaps at subscribers') >= 2, 'two restarts are told');
  t.diagnostic(stdout.trim().split('\n').at(-1));
});

test('the schedule follows from the seed', () => {
  const options = { seed: 42, events: 1000, subscribers: 3, publishers: 2, ...few };
  const schedule = makeSchedule(options);
  assert.deepEqual(makeSchedule(options), schedule);
  assert.notDeepEqual(makeSchedule({ ...options, seed: 43 }), schedule);
  assert.equal(schedule.length, 16);
  for (const [n, { at }] of schedule.entries()) assert.ok(at >= (schedule[n - 1]?.at ?? 20) && at <= 970, String(at));
  assert.deepEqual(
    schedule
      .filter(({ kind }) => kind === 'restart')
      .map(({ how }) => how)
      .sort(),
    ['kill', 'orderly'],
  );
});

test('the schedule can be printed without a run, the seed first', async () => {
  const { code, stdout } = await chaos({
    seed: 42,
    events: 1000,
    schedule: true,
    ...few,
    subscribers: 3,
    publishers: 2,
  });
  assert.equal(code, 0);
  const expected = makeSchedule({ seed: 42, events: 1000, subscribers: 3, publishers: 2, ...few }).map(describe);
  assert.deepEqual(stdout.trimEnd().split('\n'), ['seed 42', ...expected]);
});

test('options that are wrong end with exit code 2 and say why', async () => {
  const { code, stderr } = await chaos({ events: 'many' });
  assert.equal(code, 2);
  assert.match(stderr, /--events must be a whole number from 1 on, got many/);
});
