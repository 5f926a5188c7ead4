// Hubs and spokes through a relay of Iroh: a relay alone, then directly, TLS, tokens, and a relay that is killed and comes back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { startRelay, withoutRelay } from '../../examples/p2p/relay-server.mjs';
import { eventually, Log, listenTo, next, within } from '../websocket/facts.mjs';
import { eager, makeEndpoint } from './endpoints.mjs';

const needsRelay = { skip: withoutRelay, timeout: 120_000 };

async function relayOf(t, ...args) {
  const relay = await within(startRelay(args), 'a relay');
  t.after(() => relay.kill());
  return relay;
}

/** An endpoint without sockets. */
const atRelay = (t, { url, root }, options) =>
  makeEndpoint(t, { bind: [], relays: [url], ...(root && { relayRoots: root }), ...options });

async function hubAt(t, endpoint, options) {
  await endpoint.online({ timeoutMs: 15_000 });
  const hub = await createIrohHubEventTarget({ endpoint, anyone: true, ...options });
  t.after(() => hub.close({ timeoutMs: 0 }));
  return hub;
}

async function spokeOf(t, hubEndpoint, endpoint, options) {
  const made = createIrohSpokeEventTarget({ endpoint, hubNodeId: hubEndpoint.ticket(), reconnect: eager, ...options });
  const spoke = await within(made, 'the spoke is open');
  t.after(() => spoke.close({ timeoutMs: 0 }));
  return spoke;
}

test('a hub and a spoke without sockets meet at a relay, and the path says so', needsRelay, async (t) => {
  const relay = await relayOf(t);
  const [hubEndpoint, endpoint] = [await atRelay(t, relay), await atRelay(t, relay)];
  const hub = await hubAt(t, hubEndpoint);
  const spoke = await spokeOf(t, hubEndpoint, endpoint);
  assert.deepEqual([hubEndpoint.boundSockets(), hubEndpoint.addresses()], [[], [`${relay.url}/`]]);
  assert.deepEqual(hubEndpoint.relays(), [{ url: `${relay.url}/`, connected: true, error: undefined }]);
  const [atHub, atSpoke] = [listenTo(hub, 'a:'), listenTo(spoke, 'b:')];
  await spoke.ready('b:');
  const before = await relay.relayed();
  spoke.dispatchEvent(createEvent('a', '', 'x'.repeat(100_000)));
  hub.dispatchEvent(createEvent('b', '', 2));
  await Promise.all([atHub.reaches(1), atSpoke.reaches(1)]);
  assert.ok((await relay.relayed()) - before > 100_000, 'it went through the relay');
  for (const [one, other] of [
    [endpoint, hubEndpoint],
    [hubEndpoint, endpoint],
  ]) {
    const paths = one.paths(other.nodeId());
    assert.deepEqual([...new Set(paths.map(({ kind, address }) => `${kind} ${address}`))], [`relay ${relay.url}/`]);
    assert.ok(paths.some(({ selected }) => selected));
  }
});

test('an endpoint tells when it is reached through a relay', needsRelay, async (t) => {
  const relay = await relayOf(t);
  const endpoint = await atRelay(t, relay);
  const told = [];
  for await (const addresses of endpoint.watchAddr({ timeoutMs: 15_000 })) {
    told.push(addresses);
    if (addresses.length > 0) break;
  }
  assert.deepEqual(told.at(-1), [`${relay.url}/`]);
  assert.ok(told.length <= 2, 'nothing is told twice');
});

test('a link that begins through a relay goes on directly, without a loss', needsRelay, async (t) => {
  const relay = await relayOf(t);
  const [hubEndpoint, endpoint] = [
    await makeEndpoint(t, { relays: [relay.url] }),
    await makeEndpoint(t, { relays: [relay.url] }),
  ];
  await hubEndpoint.online({ timeoutMs: 15_000 });
  endpoint.addAddress(hubEndpoint.nodeId(), relay.url);
  const hub = await hubAt(t, hubEndpoint);
  const spoke = await within(
    createIrohSpokeEventTarget({ endpoint, hubNodeId: hubEndpoint.nodeId(), reconnect: eager }),
    'the spoke is open',
  );
  t.after(() => spoke.close({ timeoutMs: 0 }));
  const [heard, faults] = [listenTo(hub, 'n:'), new Log()];
  for (const name of ['gap', 'reconnecting', 'error']) spoke.addEventListener(name, () => faults.push(name));
  let sent = 0;
  const isDirect = () => {
    spoke.dispatchEvent(createEvent('n', '', sent++));
    return endpoint.paths(hubEndpoint.nodeId()).find(({ kind, selected }) => kind === 'direct' && selected);
  };
  const path = await eventually(isDirect, 'it is direct');
  assert.ok(hubEndpoint.boundSockets().includes(path.address), path.address);
  spoke.dispatchEvent(createEvent('n', '', sent++));
  await heard.reaches(sent);
  assert.deepEqual(
    heard.entries.map(({ payload }) => payload),
    Array.from({ length: sent }, (_, n) => n),
  );
  assert.deepEqual(faults.entries, []);
});

test('a relay with TLS is believed with the root that is given', needsRelay, async (t) => {
  const relay = await relayOf(t, '--tls');
  assert.match(relay.url, /^https:/);
  const [hubEndpoint, endpoint] = [await atRelay(t, relay), await atRelay(t, relay)];
  const hub = await hubAt(t, hubEndpoint);
  const spoke = await spokeOf(t, hubEndpoint, endpoint);
  const heard = listenTo(hub, 'a:');
  spoke.dispatchEvent(createEvent('a', '', 1));
  await heard.reaches(1);
  const stranger = await makeEndpoint(t, { bind: [], relays: [relay.url] });
  await assert.rejects(stranger.online({ timeoutMs: 1500 }), { code: 'ERR_TIMED_OUT' });
  await assert.rejects(makeEndpoint(t, { relays: [relay.url], relayRoots: 'no PEM' }), { code: 'ERR_INVALID_OPTION' });
});

test('a relay that wants a token refuses who has none at once', needsRelay, async (t) => {
  const relay = await relayOf(t, '--token', 'open sesame');
  const withToken = await makeEndpoint(t, { bind: [], relays: [{ url: relay.url, token: 'open sesame' }] });
  await within(withToken.online(), 'the relay takes it');
  const without = await atRelay(t, relay);
  await assert.rejects(within(without.online(), 'an answer'), { code: 'ERR_FORBIDDEN', message: /wrong token/ });
  const [{ connected, error }] = without.relays();
  assert.deepEqual([connected, error], [false, 'refused: wrong token']);
  await assert.rejects((await makeEndpoint(t)).online(), { code: 'ERR_INVALID_OPTION' });
});

test('a relay that is killed and comes back costs a link nothing within the heartbeat', needsRelay, async (t) => {
  const relay = await relayOf(t);
  const [hubEndpoint, endpoint] = [await atRelay(t, relay), await atRelay(t, relay)];
  const hub = await hubAt(t, hubEndpoint);
  const spoke = await spokeOf(t, hubEndpoint, endpoint);
  const [heard, faults] = [listenTo(hub, 'n:'), new Log()];
  for (const name of ['gap', 'reconnecting', 'error']) spoke.addEventListener(name, () => faults.push(name));
  spoke.dispatchEvent(createEvent('n', '', 'before'));
  await heard.reaches(1);
  await relay.kill();
  await eventually(() => hubEndpoint.relays().every(({ connected }) => !connected), 'the relay is missed');
  spoke.dispatchEvent(createEvent('n', '', 'meanwhile'));
  await relayOf(t, '--port', String(relay.port));
  await heard.reaches(2, 30_000);
  spoke.dispatchEvent(createEvent('n', '', 'after'));
  await heard.reaches(3);
  assert.deepEqual(
    heard.entries.map(({ payload }) => payload),
    ['before', 'meanwhile', 'after'],
  );
  assert.deepEqual(faults.entries, []);
});

test(
  'a relay that is away for longer than the heartbeat is a loss, and one gap when it is back',
  needsRelay,
  async (t) => {
    const relay = await relayOf(t);
    const idleTimeoutMs = 2000;
    const [hubEndpoint, endpoint] = [
      await atRelay(t, relay, { idleTimeoutMs }),
      await atRelay(t, relay, { idleTimeoutMs }),
    ];
    const limits = { heartbeatMs: 400 };
    const hub = await hubAt(t, hubEndpoint, { limits });
    const spoke = await spokeOf(t, hubEndpoint, endpoint, { limits });
    const heard = listenTo(spoke, 'n:');
    await spoke.ready('n:');
    const [lost, gap, gone] = [next(spoke, 'reconnecting'), next(spoke, 'gap', 60_000), next(hub, 'disconnection')];
    await relay.kill();
    await Promise.all([lost, gone]);
    await relayOf(t, '--port', String(relay.port));
    const { cause, topics } = await gap;
    assert.deepEqual([cause, topics], ['connection-lost', ['n:']]);
    hub.dispatchEvent(createEvent('n', '', 'again'));
    await heard.reaches(1);
  },
);
