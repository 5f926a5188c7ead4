// What happens to processes: SIGTERM under load, and a process that is stopped for a while and goes on.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BareClient } from './bare-peers.mjs';
import { Child } from './children.mjs';
import { eventually, listenTo, next, within } from './facts.mjs';
import { makeHub, makeOpenSpoke } from './targets.mjs';

const isWindows = process.platform === 'win32';
const noSignals = 'signals of this kind are not known here';

/** Numbers that came, one by one; wrong ones are kept. */
function count(target, topic) {
  const seen = { count: 0, wrong: [] };
  target.addEventListener(topic, ({ detail: { payload } }) => {
    const n = payload.n ?? payload;
    if (n !== seen.count) seen.wrong.push(n);
    seen.count = n + 1;
  });
  return seen;
}

describe('SIGTERM under load', { concurrency: 2 }, () => {
  test('a publishing spoke that handles it with close() has everything heard, and ends with code 0', async (t) => {
    const hub = await makeHub(t);
    const seen = count(hub, 'load:1');
    const gone = next(hub, 'disconnection', 30_000);
    const spoke = new Child(t, 'loaded-spoke.mjs', hub.address.url, 'handled');
    await spoke.told('running');
    await eventually(() => seen.count > 1000, 'events come');
    spoke.kill('SIGTERM');
    const { sent, ms } = await spoke.told('closed');
    assert.equal(await within(spoke.exited, 'the end of the process'), 0);
    await eventually(
      () => seen.count === sent,
      () => `all ${sent} events`,
    );
    assert.deepEqual(seen.wrong, []);
    const { code, clean } = await gone;
    assert.deepEqual({ code, clean }, { code: 1000, clean: true });
    t.diagnostic(`${sent} events sent, all heard; close() took ${ms} ms`);
    assert.ok(ms < 3000 + 1000, 'within its limit');
  });

  test('a publishing spoke that does not handle it dies of it; the hub has a prefix of what it sent and goes on', async (t) => {
    if (isWindows) return t.skip(noSignals);
    const hub = await makeHub(t);
    const seen = count(hub, 'load:1');
    const gone = next(hub, 'disconnection', 30_000);
    const spoke = new Child(t, 'loaded-spoke.mjs', hub.address.url, 'unhandled');
    await spoke.told('running');
    await eventually(() => seen.count > 1000, 'events come');
    spoke.kill('SIGTERM');
    assert.equal(await within(spoke.exited, 'the end of the process'), 'SIGTERM');
    assert.equal((await gone).clean, false);
    assert.deepEqual(seen.wrong, []);
    await makeOpenSpoke(t, hub);
  });

  test('a hub closes within its limit although a reader has stopped, and ends with code 0', async (t) => {
    if (isWindows) return t.skip(noSignals);
    const hub = new Child(t, 'beating-hub.mjs');
    const { url } = await hub.told('listening');
    const reading = await BareClient.to(t, url);
    reading.publish('__subscribe', '', { topic: 'beat:1' });
    const stopped = await BareClient.to(t, url);
    stopped.publish('__subscribe', '', { topic: 'beat:1' });
    await stopped.frames.reaches(1);
    stopped.ws.pause();
    await reading.frames.reaches(20);
    const began = Date.now();
    hub.kill('SIGTERM');
    assert.equal((await within(reading.closed, 'the close')).code, 1001);
    assert.equal(await within(hub.exited, 'the end of the process'), 0);
    const ms = Date.now() - began;
    t.diagnostic(`gone after ${ms} ms`);
    assert.ok(ms < 1000 + 2000, `close() had a second, the process ended after ${ms} ms`);
  });
});

describe('a process that is stopped for a while (SIGSTOP) and goes on', { concurrency: 2 }, () => {
  /** Much less than 2.5 heartbeats of ten seconds. */
  const STOPPED_MS = 1500;

  test('a hub: nobody is disconnected, nothing is lost or told as lost', async (t) => {
    if (isWindows) return t.skip(noSignals);
    const hub = new Child(t, 'beating-hub.mjs');
    const { url } = await hub.told('listening');
    const spoke = await makeOpenSpoke(t, url);
    const seen = listenTo(spoke, 'beat:1');
    const troubles = listenTo(spoke, 'reconnecting', 'gap', 'error');
    await seen.reaches(10);
    hub.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, STOPPED_MS));
    const heard = seen.length;
    hub.kill('SIGCONT');
    await seen.reaches(heard + 100);
    const numbers = seen.entries.map(({ payload }) => payload);
    assert.deepEqual(
      numbers,
      numbers.map((_, n) => numbers[0] + n),
      'one by one',
    );
    assert.deepEqual(troubles.entries, []);
  });

  test('a spoke: it hears everything afterwards, and the hub has not cut it off', async (t) => {
    if (isWindows) return t.skip(noSignals);
    const hub = await makeHub(t);
    const seen = count(hub, 'load:1');
    const gone = listenTo(hub, 'disconnection');
    const spoke = new Child(t, 'loaded-spoke.mjs', hub.address.url, 'handled');
    await spoke.told('running');
    await eventually(() => seen.count > 1000, 'events come');
    spoke.kill('SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, STOPPED_MS));
    assert.equal(gone.length, 0);
    const before = seen.count;
    spoke.kill('SIGCONT');
    await eventually(() => seen.count > before + 1000, 'it goes on');
    spoke.kill('SIGTERM');
    const { sent } = await spoke.told('closed');
    await eventually(() => seen.count === sent, 'all events');
    assert.deepEqual(seen.wrong, []);
  });
});
