// Hubs and spokes over Iroh: who comes in, what refusals and closes say, what becomes of links.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { createHub } from '@alkdev/pubsub-native/hub';
import { Log, listenTo, within } from '../websocket/facts.mjs';
import { dial, introduce, makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';

test('an event goes from a spoke to its hub and back', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const spoke = await makeSpoke(t, endpoint);
  const [atHub, atSpoke] = [listenTo(hub, 'a:'), listenTo(spoke, 'b:')];
  await spoke.ready('b:');
  spoke.dispatchEvent(createEvent('a', '', 1));
  await atHub.reaches(1);
  hub.dispatchEvent(createEvent('b', '', 2));
  await atSpoke.reaches(1);
  assert.deepEqual(
    [...atHub.entries, ...atSpoke.entries].map(({ payload }) => payload),
    [1, 2],
  );
});

test('the identity of a connection is the id of its endpoint, for authorize and onConnection alike', async (t) => {
  const seen = new Log();
  const authorize = { connect: ({ identity, transport }) => seen.push({ identity, transport }) ?? true };
  const onConnection = (_spoke, { identity, transport }) => seen.push({ identity, transport });
  const { endpoint } = await makeHub(t, { authorize, onConnection });
  const own = await makeEndpoint(t);
  await makeSpoke(t, endpoint, { endpoint: own });
  const expected = { identity: `iroh:${own.nodeId()}`, transport: 'iroh' };
  assert.deepEqual(await seen.reaches(2), [expected, expected]);
});

test('a refusal rejects the factory with its code, at once', async (t) => {
  const { endpoint } = await makeHub(t, { authorize: { connect: () => false } });
  await assert.rejects(dial(t, endpoint), { code: 'ERR_FORBIDDEN', message: /4403: the hub does not let you in/ });
});

test('a factory that rejects has told whoever made it: it is no warning of the process besides', async (t) => {
  const warnings = [];
  const hear = (warning) => warnings.push(warning.code);
  process.on('warning', hear);
  t.after(() => process.off('warning', hear));
  const { endpoint } = await makeHub(t, { authorize: { connect: () => false } });
  await assert.rejects(createIrohHubEventTarget({ endpoint }), { code: 'ERR_LISTEN' });
  await assert.rejects(dial(t, endpoint), { code: 'ERR_FORBIDDEN' });
  // Warnings come a turn later.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});

test('who is not let in hears why, with the code of each reason', async (t) => {
  const fails = () => {
    throw new Error('no answer');
  };
  const { hub, endpoint } = await makeHub(t, { authorize: { connect: fails } });
  hub.addEventListener('error', () => {});
  await assert.rejects(dial(t, endpoint), { message: /code 1011: the hub cannot decide now whether you may come in/ });
  const unknown = await makeHub(t, { authorize: { connect: () => undefined } });
  await assert.rejects(dial(t, unknown.endpoint), {
    code: 'ERR_NOT_IDENTIFIED',
    message: /code 4401: the hub does not know who you are/,
  });
  const full = await makeHub(t, { limits: { maxConnections: 1 } });
  await makeSpoke(t, full.endpoint);
  await assert.rejects(dial(t, full.endpoint), {
    code: 'ERR_SLOW_CONSUMER',
    message: /code 1013: too many connections/,
  });
  const slow = await makeHub(t, { authorize: { connect: () => new Promise(() => {}) }, limits: { handshakeMs: 100 } });
  await assert.rejects(dial(t, slow.endpoint), { message: /code 4408: not admitted in time/ });
});

test('nobody there, another protocol, another id, no address: each is an error of its own', async (t) => {
  const { endpoint } = await makeHub(t);
  const [own, stranger] = [await makeEndpoint(t), await makeEndpoint(t)];
  introduce(own, endpoint);
  const attempt = (hubNodeId, options) => createIrohSpokeEventTarget({ endpoint: own, hubNodeId, ...options });
  await assert.rejects(attempt(endpoint.nodeId(), { alpn: 'other/1' }), { code: 'ERR_HANDSHAKE' });
  await assert.rejects(attempt(stranger.nodeId()), { code: 'ERR_CONNECT', message: /no address of/ });
  own.addAddress(stranger.nodeId(), endpoint.boundSockets());
  await assert.rejects(attempt(stranger.nodeId()), { code: 'ERR_TLS' });
  await assert.rejects(attempt(own.nodeId()), { code: 'ERR_INVALID_OPTION' });
  await assert.rejects(attempt('nonsense'), { code: 'ERR_INVALID_ID' });
  await assert.rejects(attempt(endpoint.nodeId(), { endpoint: {} }), { code: 'ERR_INVALID_OPTION' });
});

test('a hub that others could reach needs authorize, a list of ids, or anyone: true', async (t) => {
  const endpoint = await makeEndpoint(t, { bind: '0.0.0.0:0' });
  await assert.rejects(createIrohHubEventTarget({ endpoint }), { code: 'ERR_NO_AUTHORIZE' });
  await makeHub(t, { endpoint, anyone: true });
  await assert.rejects(createIrohHubEventTarget({ endpoint, anyone: true }), { code: 'ERR_LISTEN' });
  await makeHub(t, { endpoint, alpn: 'guarded/1', authorize: { connect: () => true } });
  endpoint.setAccess({ allow: [] });
  await makeHub(t, { endpoint, alpn: 'listed/1' });
});

test('a hub over both transports is open once both are bound', async (t) => {
  const endpoint = await makeEndpoint(t);
  const hub = createHub({ websocket: { listen: { port: 0 } }, iroh: { endpoint } });
  t.after(() => hub.close({ timeoutMs: 0 }));
  const opens = new Log();
  hub.addEventListener('open', () => opens.push('open'));
  await within(hub.ready(), 'the hub is open');
  await makeSpoke(t, endpoint);
  assert.deepEqual([opens.entries, hub.connections.size], [['open'], 1]);
});

test('a spoke without hello that says nothing is a connection like others, and is not taken for one that does not come', async (t) => {
  let come;
  const [coming, quiet] = [new Promise((resolve) => (come = resolve)), { peer: 'plain', reconnect: false }];
  const { hub, endpoint } = await makeHub(t, { onConnection: (_, connection) => come(connection.native) });
  const spoke = await makeSpoke(t, endpoint, quiet);
  assert.equal(await within(coming, 'the hub hears of it long before handshakeMs'), false);
  assert.deepEqual([spoke.state, hub.stats().connections, hub.stats().malformed], ['open', 1, 0]);
});
