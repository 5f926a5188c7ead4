// The command line through a real relay of Iroh, and without any network: --iroh-relay, --ca, --public.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startRelay, withoutRelay } from '../../examples/p2p/relay-server.mjs';
import { within } from '../websocket/facts.mjs';
import { messages, objects, run, said, start, startHub, startSub } from './program.mjs';

const needsRelay = { skip: withoutRelay, timeout: 120_000 };

async function relayOf(t, ...args) {
  const relay = await within(startRelay(args), 'a relay');
  t.after(() => relay.kill());
  return relay;
}

test('a hub at a relay is reached by its id there, by what it prints, and by its ticket', needsRelay, async (t) => {
  const relay = await relayOf(t);
  const hub = await startHub(t, ['--no-websocket', '--iroh-relay', relay.url, '--anyone']);
  const { websocket, iroh } = await said(hub, 'listening');
  assert.equal(websocket, null);
  assert.ok(iroh.addresses.includes(`${relay.url}/`), JSON.stringify(iroh));
  // Nothing but the relay is known of the hub, so all of it begins there.
  const byId = [`iroh:${hub.id}`, '--iroh-relay', relay.url];
  const places = [byId, [`iroh:${hub.id}@${relay.url}`], [hub.iroh], [hub.ticket]];
  const [where, ...options] = byId;
  const sub = await startSub(t, [where, 'a:b', '--count', String(places.length), ...options]);
  for (const [index, [place, ...known]] of places.entries()) {
    const pub = await run(t, ['pub', place, 'a:b', String(index), ...known]);
    assert.deepEqual([pub.code, pub.stderr], [0, 'published 1 event\n']);
  }
  const { stdout } = await sub.finished;
  assert.deepEqual(
    messages(stdout).map(({ payload }) => payload),
    [0, 1, 2, 3],
  );
  assert.ok((await relay.relayed()) > 0, 'something went through the relay');
});

test(
  '--ca names the authority of a relay; without it the hub says that none took it, and goes on',
  needsRelay,
  async (t) => {
    const relay = await relayOf(t, '--tls');
    const folder = mkdtempSync(join(tmpdir(), 'cli-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const ca = join(folder, 'ca.pem');
    writeFileSync(ca, relay.root);
    const trusting = await startHub(t, ['--no-websocket', '--iroh-relay', relay.url, '--ca', ca, '--anyone']);
    const place = `iroh:${trusting.id}@${relay.url}`;
    const doubting = startHub(t, ['--no-websocket', '--iroh-relay', relay.url, '--anyone']);
    assert.equal((await run(t, ['pub', place, 'a:b', '1', '--ca', ca])).code, 0);
    const stranger = await run(t, ['pub', place, 'a:b', '1']);
    assert.equal(stranger.code, 3, stranger.stderr);
    const hub = await doubting;
    assert.equal((await said(hub, 'problem')).code, 'ERR_TIMED_OUT');
    // On loopback alone its address does not help the others; the hub is there all the same.
    hub.child.kill('SIGTERM');
    assert.equal((await hub.finished).code, process.platform === 'win32' ? 'SIGTERM' : 0);
  },
);

test('doctor says whether a relay can be reached', needsRelay, async (t) => {
  const relay = await relayOf(t);
  const well = await run(t, ['doctor', '--json', '--iroh-relay', relay.url]);
  assert.deepEqual(objects(well.stdout).at(-1), {
    ...{ event: 'check', name: 'relays', status: 'ok', detail: `reached through ${relay.url}/` },
  });
  await relay.kill();
  const ill = await run(t, ['doctor', '--json', '--iroh-relay', relay.url]);
  assert.equal(ill.code, 1);
  const { name, status, remedy } = objects(ill.stdout).at(-1);
  assert.deepEqual([name, status], ['relays', 'failed']);
  assert.match(remedy, /Is a relay running there/);
});

test('over relays nobody is let in without a word of the user', async (t) => {
  for (const args of [['--public'], ['--iroh-relay', 'http://127.0.0.1:1']]) {
    const { code, stderr } = await run(t, ['hub', '--port', '0', ...args]);
    assert.equal(code, 2);
    assert.match(stderr, /--allow ID, or say --anyone/);
  }
});

/** A network of its own, with nothing in it: the servers of n0 are not contacted by a test. */
const nowhere = ['unshare', '--user', '--map-root-user', '--net'];
const [unshare, ...rest] = nowhere;
const withoutUnshare =
  spawnSync(unshare, [...rest, 'true']).status !== 0 && 'no "unshare" that makes networks without rights (Linux)';

test('--public without a network: the hub says so and goes on, doctor says what to do', {
  skip: withoutUnshare,
  timeout: 120_000,
}, async (t) => {
  const runtime = [...nowhere, process.execPath];
  const doctor = start(t, ['doctor', '--public', '--json'], { runtime });
  const hub = start(t, ['hub', '--json', '--no-websocket', '--public', '--anyone'], { runtime });
  assert.equal((await said(hub, 'listening')).websocket, null);
  assert.deepEqual(
    objects(hub.text.stdout).map(({ event, code }) => [event, code]),
    [
      ['problem', 'ERR_TIMED_OUT'],
      ['listening', undefined],
    ],
  );
  hub.child.kill('SIGINT');
  assert.equal((await hub.finished).code, 0);
  const { code, stdout, stderr } = await doctor.finished;
  assert.deepEqual([code, stderr], [1, '']);
  assert.deepEqual(
    objects(stdout).map(({ name, status }) => [name, status]),
    [
      ['platform', 'ok'],
      ['addon', 'ok'],
      ['websocket', 'failed'],
      ['iroh', 'failed'],
      ['udp', 'failed'],
      ['relays', 'failed'],
    ],
  );
  assert.match(objects(stdout).at(-1).remedy, /relays of n0/);
});
