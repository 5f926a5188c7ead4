// A hub that runs out of file descriptors: it says so, does not spin, serves those that are there, and takes the others when it can.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BareClient } from './bare-peers.mjs';
import { Child } from './children.mjs';
import { eventually, within } from './facts.mjs';

/** Node.js itself has some thirty open. */
const DESCRIPTORS = 80;
const CLIENTS = 100;

test('a hub out of descriptors backs off, goes on with those that are there, and recovers', async (t) => {
  if (process.platform === 'win32') return t.skip('there is no limit of open files to set');
  const hub = new Child(t, { fixture: 'beating-hub.mjs', descriptors: DESCRIPTORS });
  const { url } = await hub.told('listening');
  const state = async () => {
    const asked = hub.log.length;
    hub.say({ kind: 'state' });
    return eventually(() => hub.log.entries.slice(asked).find(({ kind }) => kind === 'state'), 'a state');
  };
  const first = await BareClient.to(t, url);
  first.publish('__subscribe', '', { topic: 'beat:1' });
  await first.frames.reaches(1);

  // The system accepts for the hub, so all of them connect; not all of them are answered.
  const clients = Array.from({ length: CLIENTS }, () => new BareClient(url));
  const opened = clients.map(({ ws }) => new Promise((resolve) => ws.once('open', resolve)));
  t.after(() => {
    for (const { ws } of clients) ws.terminate();
  });
  const isOpen = ({ ws }) => ws.readyState === ws.OPEN;
  const error = await hub.told('error');
  assert.equal(error.code, 'ERR_OUT_OF_DESCRIPTORS');
  assert.match(error.message, /limit of open files/);
  const full = await eventually(async () => {
    const asked = await state();
    const isSettled = asked.connections > 10 && asked.connections === 1 + clients.filter(isOpen).length;
    return isSettled && asked;
  }, 'those that fit are let in');
  t.diagnostic(
    `${full.connections} connections fit into ${DESCRIPTORS} descriptors, ${CLIENTS + 1 - full.connections} wait`,
  );
  assert.ok(full.connections < CLIENTS);

  // It waits longer and longer, up to a second. And those that are there hear on.
  const heard = first.frames.length;
  await eventually(() => first.frames.length >= heard + 200, 'two seconds of beats');
  const later = await state();
  const attempts = hub.log.entries
    .filter(({ kind }) => kind === 'error')
    .reduce((sum, { dropped }) => sum + dropped, 0);
  const busyMs = (later.cpu.user + later.cpu.system - full.cpu.user - full.cpu.system) / 1000;
  t.diagnostic(`${attempts} attempts failed so far; ${Math.round(busyMs)} ms of processor time in two seconds`);
  assert.ok(attempts <= 20, `${attempts} attempts`);
  assert.ok(busyMs < 1500, `the hub is busy: ${busyMs} ms`);
  assert.equal(later.connections, full.connections);

  // Each that goes makes room for one that waits.
  for (let left = clients; left.length > 0; ) {
    const going = left.filter(isOpen);
    for (const { ws } of going) ws.terminate();
    left = left.filter((client) => !going.includes(client));
    if (left.length > 0)
      await within(Promise.race(left.map((client) => opened[clients.indexOf(client)])), 'one more is let in');
  }
  const late = await BareClient.to(t, url);
  late.publish('__subscribe', '', { topic: 'beat:1' });
  await late.frames.reaches(1);
  await eventually(async () => (await state()).connections === 2, 'only those that stayed are there');
});
