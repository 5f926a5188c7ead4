// A spoke behind one NAT and its hub behind another, with a relay between them. Prints the path that the link takes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startRelay, withoutRelay } from '../../examples/p2p/relay-server.mjs';
import { Log, within } from '../websocket/facts.mjs';
import { MIDDLE, makeNetworks, withoutNamespaces } from './namespaces.mjs';

const QUIC_PORT = 7842;
const fixture = fileURLToPath(new URL('fixtures/peer.mjs', import.meta.url));
const options = { skip: withoutNamespaces || withoutRelay, timeout: 120_000 };

/** A process behind a NAT. */
class Peer {
  log = new Log();
  #child;

  constructor(t, via, ...args) {
    const [command, ...rest] = [...via, process.execPath, fixture, ...args];
    this.#child = spawn(command, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#child.on('message', (message) => this.log.push(message));
    this.#child.on('exit', (code, signal) => this.log.push({ kind: 'exited', how: signal ?? code }));
    t.after(() => this.#child.kill('SIGKILL'));
  }

  say(message) {
    this.#child.send(message);
  }

  async told(matches, what) {
    const found = await this.log.has((message) => message.kind === 'exited' || matches(message), what, 30_000);
    assert.notEqual(found.kind, 'exited', `the peer ended with ${found.how} before it said: ${what}`);
    return found;
  }

  async paths(id) {
    const before = this.log.length;
    this.say({ kind: 'paths', id });
    await this.told((message) => message.kind === 'paths' && this.log.entries.indexOf(message) >= before, 'its paths');
    return this.log.entries.findLast(({ kind }) => kind === 'paths').paths;
  }
}

/** A hub that can be reached by everybody, a spoke behind a NAT, and no relay. */
async function connectDirectly(t, idleTimeoutMs) {
  const { middle, left, readdress } = makeNetworks(t);
  const settings = JSON.stringify({ idleTimeoutMs });
  const hub = new Peer(t, middle, 'hub', settings);
  const { id, ticket } = await hub.told(({ kind }) => kind === 'there', 'the hub is there');
  const spoke = new Peer(t, left, 'spoke', settings, ticket);
  await spoke.told(({ kind }) => kind === 'there', 'the spoke is there');
  return { hub, spoke, id, readdress };
}

async function connect(t, ports, idleTimeoutMs = 25_000) {
  const { middle, left, right, readdress } = makeNetworks(t, ports);
  const relay = await within(
    startRelay(['--host', MIDDLE, '--tls', '--quic-port', String(QUIC_PORT)], middle),
    'the relay is there',
  );
  t.after(() => relay.kill());
  const settings = JSON.stringify({ url: relay.url, root: relay.root, quicPort: QUIC_PORT, idleTimeoutMs });
  const isThere = ({ kind }) => kind === 'there';
  const hub = new Peer(t, left, 'hub', settings);
  const { id, ticket } = await hub.told(isThere, 'the hub is there');
  const spoke = new Peer(t, right, 'spoke', settings, ticket);
  await spoke.told(isThere, 'the spoke is there');
  return { relay, hub, spoke, id, readdress };
}

/** Events go on while the path is looked for; the path that is selected once `isIt`, or after `rounds`. */
async function exchange({ hub, spoke, id }, isIt, rounds, first = 0) {
  for (let n = first; ; n++) {
    spoke.say({ kind: 'publish', payload: n });
    await hub.told(({ kind, payload }) => kind === 'heard' && payload === n, `event ${n}`);
    const selected = (await spoke.paths(id)).find((path) => path.selected);
    if (n - first >= rounds || isIt(selected)) return { ...selected, events: n + 1 };
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Losses that either end told. */
const faultsOf = ({ hub, spoke }) =>
  [hub, spoke].flatMap(({ log }) => log.entries.filter(({ kind }) => kind === 'fault'));

test('behind NATs that keep ports the link goes directly, found through the relay', options, async (t) => {
  const peers = await connect(t, '');
  const { kind, address, rttMs, events } = await exchange(peers, (path) => path?.kind === 'direct', 200);
  t.diagnostic(`path: ${kind} ${address}, ${rttMs.toFixed(1)} ms, after ${events} events`);
  assert.deepEqual([kind, address.split(':')[0]], ['direct', '10.77.1.2']);
});

test('behind NATs that give each flow another port the link stays on the relay, and works', options, async (t) => {
  const peers = await connect(t, 'fully-random');
  const { kind, address, rttMs, events } = await exchange(peers, () => false, 40);
  t.diagnostic(`path: ${kind} ${address}, ${rttMs.toFixed(1)} ms, after ${events} events`);
  assert.deepEqual([kind, address], ['relay', `${peers.relay.url}/`]);
});

test('an address that changes under a direct link costs it nothing', options, async (t) => {
  // A way that is silent for 60 % of this is given up for another.
  const peers = await connect(t, '', 4000);
  const before = await exchange(peers, (path) => path?.kind === 'direct', 200);
  assert.equal(before.address.split(':')[0], '10.77.1.2');
  peers.readdress();
  const hasMoved = (path) => path !== undefined && !path.address.startsWith('10.77.1.2:');
  const after = await exchange(peers, hasMoved, 300, before.events);
  assert.ok(hasMoved(after), `still at ${after.address}`);
  t.diagnostic(
    `path: ${before.kind} ${before.address}, then ${after.kind} ${after.address}, after ${after.events} events`,
  );
  assert.deepEqual(faultsOf(peers), []);
});

test('without a relay the other end follows the packets of an address that changes', options, async (t) => {
  const idleTimeoutMs = 1500;
  const peers = await connectDirectly(t, idleTimeoutMs);
  const { events } = await exchange(peers, () => false, 5);
  peers.readdress();
  // For longer than a link lives to which nothing comes back.
  const until = performance.now() + 2 * idleTimeoutMs;
  await exchange(peers, () => performance.now() > until, Number.POSITIVE_INFINITY, events);
  assert.deepEqual(faultsOf(peers), []);
});
