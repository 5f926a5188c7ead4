// JavaScript that does not come round for ten seconds while others publish 50 000 events a second: memory stays within the bounds, and what
// is missing lies in a gap.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { eventually } from '../websocket/facts.mjs';
import { makeTarget, watch } from './facts.mjs';
import { startRedis, withoutRedis } from './server.mjs';

const PER_SECOND = 50_000;
const BLOCKED_MS = 10_000;
/** A gap begins when the last byte came; what was in it had been sent a moment earlier, a longer one on a busy machine. */
const UNDER_WAY_MS = 1000;
/** The inbox holds 4 MiB, the sockets some more; the rest is what a debug build and the collector take. */
const MAX_GROWTH = 48 * 2 ** 20;

/** Numbers as they come, and when they were sent. */
function listen(target) {
  const seen = { last: -1, count: 0, isOver: false, missing: [], wrong: 0 };
  target.addEventListener('flood:', ({ detail: { payload } }) => {
    if (payload.n <= seen.last) seen.wrong++;
    else if (payload.n > seen.last + 1) seen.missing.push([seen.last + 1, payload.n - 1, seen.at]);
    seen.last = payload.n;
    seen.count++;
    seen.isOver = payload.isLast === true;
    seen.at = payload.at;
  });
  return seen;
}

async function blocked(t, server) {
  const target = makeTarget(t, server);
  const told = watch(target);
  const seen = listen(target);
  await target.ready('flood:');
  const publisher = fork(fileURLToPath(new URL('fixtures/flood.mjs', import.meta.url)), [
    server.url,
    String(PER_SECOND),
    String(BLOCKED_MS + 3000),
  ]);
  t.after(() => publisher.kill('SIGKILL'));
  let done;
  publisher.on('message', (message) => {
    if (message.kind === 'done') done = message;
  });
  await once(publisher, 'message');
  await eventually(() => seen.count > 10_000, 'events come', 30_000);
  const [before, heardBefore] = [process.memoryUsage.rss(), seen.count];
  // Nothing of ours runs on this thread.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BLOCKED_MS);
  const growth = process.memoryUsage.rss() - before;
  assert.equal(seen.count, heardBefore);
  await eventually(() => done !== undefined && seen.isOver, 'the last one', 60_000);
  t.diagnostic(
    `${done.sent} sent, ${seen.count} heard, memory grew by ${Math.round(growth / 2 ** 20)} MiB while it was blocked`,
  );
  assert.equal(done.dropped, 0);
  assert.equal(seen.wrong, 0, 'in order, none twice');
  assert.ok(growth < MAX_GROWTH, `memory grew by ${growth} bytes`);
  return { target, told, seen, sent: done.sent };
}

describe('JavaScript blocks for ten seconds under 50 000 events a second', {
  skip: withoutRedis,
  concurrency: 1,
}, () => {
  test('where the server keeps what is not read, all of it arrives in order afterwards', async (t) => {
    const server = await startRedis(t, '--client-output-buffer-limit', 'pubsub 0 0 0');
    const { told, seen, sent } = await blocked(t, server);
    assert.deepEqual([seen.count, seen.missing], [sent, []]);
    assert.deepEqual(
      told.log.entries.map(({ name }) => name),
      ['open'],
    );
  });

  test("with the server's own limit it is cut off: what is missing lies in the one gap that is told", async (t) => {
    const server = await startRedis(t);
    const { told, seen, sent } = await blocked(t, server);
    const [gap, ...others] = told.all('gap');
    assert.deepEqual(others, []);
    assert.equal(seen.missing.length, 1, 'one hole');
    const [[first, last, heardBefore]] = seen.missing;
    assert.equal(seen.count + (last - first + 1), sent);
    assert.deepEqual([gap.cause, gap.direction, gap.topics], ['connection-lost', 'in', ['flood:']]);
    t.diagnostic(`${last - first + 1} missing, in a gap of ${gap.to - gap.from} ms`);
    assert.ok(gap.from <= heardBefore + UNDER_WAY_MS, 'it reaches back to when the last of it came');
    assert.ok(gap.to - gap.from >= BLOCKED_MS / 2);
  });
});
