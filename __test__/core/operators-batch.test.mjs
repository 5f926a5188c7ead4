// batch by time: no event is lost, no timer stays behind, and the process is not held. Time is node:test's own.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { batch, pipe } from '../../dist/index.js';
import { done, ListSource, PushedSource, readAll, settled } from './sources.mjs';

/** Puts timers and clock under the test's hand; `advance` lets promises settle around it. */
function underTime(t) {
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const set = t.mock.method(globalThis, 'setTimeout');
  const clear = t.mock.method(globalThis, 'clearTimeout');
  return {
    async advance(ms) {
      await settled();
      now += ms;
      t.mock.timers.tick(ms);
      await settled();
    },
    made: () => set.mock.callCount(),
    cleared: () => clear.mock.callCount(),
  };
}

/** Whether a promise has settled by now. */
async function hasSettled(promise) {
  let settledAlready = false;
  const mark = () => (settledAlready = true);
  promise.then(mark, mark);
  await settled();
  return settledAlready;
}

test('a batch that is not full is given on maxDelayMs after its first item, and no earlier', async (t) => {
  const time = underTime(t);
  const source = new PushedSource();
  const stream = pipe(source, batch(3, { maxDelayMs: 100 }));
  const pull = stream.next();
  await time.advance(5000);
  assert.equal(await hasSettled(pull), false, 'an empty batch waits for its first item');
  source.push(1);
  await time.advance(60);
  source.push(2);
  await time.advance(39);
  assert.equal(await hasSettled(pull), false);
  await time.advance(1);
  assert.deepEqual(await pull, { value: [1, 2], done: false });
});

test('a full batch is given on at once, and its timer is gone', async (t) => {
  const time = underTime(t);
  const source = new PushedSource();
  const pull = pipe(source, batch(2, { maxDelayMs: 100 })).next();
  await settled();
  source.push(1);
  await settled();
  source.push(2);
  assert.deepEqual((await pull).value, [1, 2]);
  assert.deepEqual([time.made(), time.cleared()], [1, 1]);
});

test('the pull that a late batch was waiting for is not lost: its item begins the next batch', async (t) => {
  const time = underTime(t);
  const source = new PushedSource();
  const stream = pipe(source, batch(3, { maxDelayMs: 100 }));
  const first = stream.next();
  await settled();
  source.push(1);
  await time.advance(100);
  assert.deepEqual((await first).value, [1]);
  assert.equal(source.waiting, 1);
  source.push(2);
  await time.advance(1000);
  source.push(3);
  const second = stream.next();
  assert.equal(source.waiting, 0);
  // It came a second ago, so that its batch is late already, and takes along what is there.
  await time.advance(0);
  assert.deepEqual((await second).value, [2, 3]);
});

test('nothing is read ahead while nobody pulls, except for that one item', async (t) => {
  const time = underTime(t);
  const source = new PushedSource();
  const stream = pipe(source, batch(2, { maxDelayMs: 10 }));
  source.push(1);
  const first = stream.next();
  await time.advance(10);
  assert.deepEqual((await first).value, [1]);
  source.push(2, 3, 4);
  await time.advance(1000);
  assert.equal(source.queued, 2);
  assert.deepEqual((await stream.next()).value, [2, 3]);
});

test('the end and an error of the source come after the batch that was open, and leave no timer', async (t) => {
  const time = underTime(t);
  const mine = new Error('mine');
  for (const [stop, error] of [
    [(source) => source.end(), undefined],
    [(source) => source.fail(mine), mine],
  ]) {
    const source = new PushedSource();
    const reading = readAll(pipe(source, batch(3, { maxDelayMs: 100 })));
    await settled();
    source.push(1);
    await settled();
    stop(source);
    assert.deepEqual(await reading, { items: [[1]], error });
  }
  assert.equal(time.made(), time.cleared());
});

test('an error that comes behind a late batch is given in its place', async (t) => {
  const time = underTime(t);
  const mine = new Error('mine');
  const source = new PushedSource();
  const stream = pipe(source, batch(3, { maxDelayMs: 100 }));
  const first = stream.next();
  await settled();
  source.push(1);
  await time.advance(100);
  assert.deepEqual((await first).value, [1]);
  source.fail(mine);
  await settled();
  await assert.rejects(stream.next(), mine);
  assert.deepEqual(await stream.next(), done);
});

test('return() while a batch waits ends the pull and takes the timer away', async (t) => {
  const time = underTime(t);
  const source = new PushedSource();
  const stream = pipe(source, batch(3, { maxDelayMs: 100 }));
  const pull = stream.next();
  await settled();
  source.push(1);
  await settled();
  assert.equal(time.made(), 1);
  await stream.return();
  assert.deepEqual(await pull, done);
  assert.equal(time.cleared(), 1);
  assert.equal(source.returns, 1);
});

test('return() takes the timer away from a source that does not answer, too', async (t) => {
  const time = underTime(t);
  const answers = [Promise.resolve({ value: 1, done: false })];
  const source = {
    [Symbol.asyncIterator]: () => source,
    next: () => answers.shift() ?? new Promise(() => {}),
    return: () => new Promise(() => {}),
  };
  const stream = pipe(source, batch(3, { maxDelayMs: 100 }));
  const pull = stream.next();
  await settled();
  assert.equal(time.made(), 1);
  void stream.return();
  assert.deepEqual(await pull, done);
  assert.equal(time.cleared(), 1);
});

test('without maxDelayMs there is no timer', async (t) => {
  const set = t.mock.method(globalThis, 'setTimeout');
  await readAll(pipe(new ListSource([1, 2, 3]), batch(2)));
  assert.equal(set.mock.callCount(), 0);
});

test('maxDelayMs 0 gives on what is there', async (t) => {
  // The timer of a batch does not hold the process, and nothing else here does.
  const alive = setInterval(() => {}, 1000);
  t.after(() => clearInterval(alive));
  const source = new PushedSource();
  source.push(1, 2);
  const stream = pipe(source, batch(9, { maxDelayMs: 0 }));
  assert.deepEqual((await stream.next()).value, [1, 2]);
  await stream.return();
});

test('an open batch does not hold the process', async () => {
  const index = new URL('../../dist/index.js', import.meta.url).href;
  const program = `
    import { batch, createPubSub, pipe } from ${JSON.stringify(index)};
    const { publish, subscribe } = createPubSub();
    const stream = pipe(subscribe('a', 'b'), batch(10, { maxDelayMs: 3_000_000 }));
    publish('a', 'b', 1);
    stream.next();
    setImmediate(() => console.log('the last that there is to do'));
  `;
  const options = { timeout: 30_000, killSignal: 'SIGKILL', cwd: fileURLToPath(new URL('.', import.meta.url)) };
  const { error, stdout } = await new Promise((resolve) =>
    execFile(process.execPath, ['--input-type=module', '--eval', program], options, (error, stdout) =>
      resolve({ error, stdout }),
    ),
  );
  assert.equal(error, null);
  assert.match(stdout, /the last/);
});
