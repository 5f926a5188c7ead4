// A herd: many spokes lose their hub at once. All come back, and not all at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Child } from './children.mjs';
import { eventually } from './facts.mjs';

const SPOKES = 200;
/** Long enough that the first attempts of all fail: their delays are below 250 ms. */
const DOWN_MS = 600;
const PATIENCE_MS = 60_000;

async function ask(herd) {
  const asked = herd.log.length;
  herd.say({ kind: 'state' });
  return eventually(() => herd.log.entries.slice(asked).find(({ kind }) => kind === 'state'), 'a state');
}

/** Bars of numbers in steps of `width`. */
function histogram(numbers, width) {
  const bins = new Map();
  for (const number of numbers) bins.set(Math.floor(number / width), (bins.get(Math.floor(number / width)) ?? 0) + 1);
  const last = Math.max(...bins.keys());
  return Array.from({ length: last + 1 }, (_, bin) => ({ from: bin * width, count: bins.get(bin) ?? 0 }));
}

for (const how of ['killed', 'restarted in order']) {
  test(`${SPOKES} spokes whose hub is ${how} all come back, spread over time, and hear nothing twice`, async (t) => {
    const hub = new Child(t, 'beating-hub.mjs', 0, 0);
    const { url, port } = await hub.told('listening');
    const herd = new Child(t, 'herd.mjs', url, SPOKES);
    await herd.told('ready', PATIENCE_MS);
    const lostAt = Date.now();
    if (how === 'killed') hub.kill('SIGKILL');
    else hub.say({ kind: 'close' });
    await hub.exited;
    const isLost = async () => (await ask(herd)).open === 0 && Date.now() - lostAt >= DOWN_MS;
    await eventually(isLost, 'all have lost it, and the first attempts failed', PATIENCE_MS);
    const heir = new Child(t, 'beating-hub.mjs', port, 1);
    await heir.told('listening');
    const backAt = Date.now();
    await eventually(async () => (await ask(herd)).gaps === SPOKES, 'all are back and told of a gap', PATIENCE_MS);
    const { open, back, attempts, troubles } = await ask(herd);
    assert.deepEqual([open, back], [SPOKES, SPOKES]);
    assert.deepEqual(troubles, [], 'nothing twice, nothing out of order, nobody ended');

    const bars = histogram(
      attempts.map(({ at }) => at - lostAt),
      250,
    );
    t.diagnostic(`attempts after the loss, by 250 ms; the hub was back after ${backAt - lostAt} ms`);
    for (const { from, count } of bars)
      t.diagnostic(`${String(from).padStart(6)} ${'#'.repeat(Math.ceil(count / 4))} ${count}`);
    // Full jitter: the first delay is anything up to 250 ms, each fifth of that as likely as the others.
    const first = attempts.filter(({ attempt }) => attempt === 1).map(({ delayMs }) => delayMs);
    assert.equal(first.length, SPOKES, 'one loss each');
    const fifths = histogram(first, 50).map(({ count }) => count);
    assert.equal(fifths.length, 5, `no delay of 250 ms or more: ${fifths}`);
    for (const count of fifths) assert.ok(count >= SPOKES / 20, `fifths of the first delays: ${fifths}`);
    const most = Math.max(...attempts.map(({ attempt }) => attempt));
    assert.ok(most <= 12, `somebody needed ${most} attempts`);
  });
}
