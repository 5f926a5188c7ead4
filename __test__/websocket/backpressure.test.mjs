// JavaScript that stands still for 5 s under a flood: memory stays bounded, order is kept, nothing is lost, nobody is disconnected, and
// what does not need JavaScript goes on. Every party is a process of its own.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Child } from './children.mjs';
import { eventually } from './facts.mjs';

const BLOCK_MS = 5000;
const MIB = 1 << 20;
/** The inbox holds 4 MiB, the mailbox 1 MiB; the rest is room for what an allocator keeps. Unbounded it would be hundreds. */
const MAX_GROWTH = 64 * MIB;

/** Everything that `flood` has sent, once it was told to stop, has been heard by `hearer`, in order. */
async function everythingIsHeard(t, flood, hearer) {
  const { sent, trouble } = await flood.ask('stop', 30_000);
  assert.deepEqual(trouble, [], 'the flood was not disconnected');
  const count = async () => {
    const asked = hearer.log.length;
    hearer.say({ kind: 'count' });
    return eventually(() => hearer.log.entries.slice(asked).find(({ kind }) => kind === 'count'), 'a count');
  };
  let last = await count();
  await eventually(async () => {
    last = await count();
    return last.count >= sent || last.gone.length > 0;
  }, `all ${sent} events, as many as were sent`);
  t.diagnostic(`${sent} events sent and heard, ${Math.round(last.rss / MIB)} MiB at the end`);
  assert.deepEqual(last.gone, [], 'nobody was disconnected, nothing was reported');
  assert.equal(last.count, sent);
  assert.equal(last.isInOrder, true, 'in the order in which they were sent');
  return last;
}

async function block(t, child) {
  await child.told('hearing', 30_000);
  child.say({ kind: 'block', ms: BLOCK_MS });
  const blocked = await child.told('blocked', BLOCK_MS + 30_000);
  const growth = blocked.after - blocked.before;
  t.diagnostic(`RSS ${Math.round(blocked.before / MIB)} MiB, ${(growth / MIB).toFixed(1)} MiB more after the block`);
  assert.ok(growth < MAX_GROWTH, `memory grew by ${growth} bytes`);
  return blocked;
}

/** While the hub's JavaScript stood still, events between two other clients went through it as before. */
async function relaysGoOn(t, pair, { began, ended }) {
  const { arrivals, trouble } = await pair.ask('arrivals');
  assert.deepEqual(trouble, []);
  const during = arrivals.filter(({ sentAt, at }) => sentAt >= began && at <= ended);
  const longest = Math.max(...during.map(({ sentAt, at }) => at - sentAt));
  t.diagnostic(`${during.length} relayed events during the block, the slowest took ${longest} ms`);
  assert.ok(during.length > 500, `${during.length} relayed events during the block`);
  assert.ok(longest < 2000, `a relayed event took ${longest} ms`);
}

describe('JavaScript blocked for 5 s under a flood', { concurrency: 1 }, () => {
  test('a hub: bounded, in order, nothing lost, nobody disconnected, relays go on', async (t) => {
    const hub = new Child(t, 'blocked-hub.mjs');
    const { url } = await hub.told('listening');
    const pair = new Child(t, 'relay-pair.mjs', url);
    await pair.told('running');
    const flood = new Child(t, 'flood.mjs', 'client', url);
    await relaysGoOn(t, pair, await block(t, hub));
    await everythingIsHeard(t, flood, hub);
  });

  test('a hub: relays go on also for a connection that said something to JavaScript long before', async (t) => {
    const hub = new Child(t, 'blocked-hub.mjs');
    const { url } = await hub.told('listening');
    const pair = new Child(t, 'relay-pair.mjs', url, 'greet');
    await pair.told('running');
    await hub.told('greeted');
    const flood = new Child(t, 'flood.mjs', 'client', url);
    await relaysGoOn(t, pair, await block(t, hub));
    await everythingIsHeard(t, flood, hub);
  });

  test('a hub flooded with events for JavaScript, each followed by one that it does not hear: bounded all the same', async (t) => {
    const hub = new Child(t, 'blocked-hub.mjs');
    const { url } = await hub.told('listening');
    const flood = new Child(t, 'flood.mjs', 'mixed', url);
    await block(t, hub);
    await everythingIsHeard(t, flood, hub);
  });

  test('a spoke: bounded, in order, nothing lost, the link stays', async (t) => {
    const flood = new Child(t, 'flood.mjs', 'hub');
    const { url } = await flood.told('listening');
    const spoke = new Child(t, 'blocked-spoke.mjs', url);
    await block(t, spoke);
    await everythingIsHeard(t, flood, spoke);
  });

  test('a hub blocked for longer than its peers wait for a sign of life still gives one', async (t) => {
    const hub = new Child(t, 'blocked-hub.mjs', 1000);
    const { url } = await hub.told('listening');
    const flood = new Child(t, 'flood.mjs', 'spoke', url, 1000);
    await block(t, hub);
    await everythingIsHeard(t, flood, hub);
  });
});
