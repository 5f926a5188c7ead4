// The filter of an endpoint for those who come in: whom it is asked about, what its answers do, and that nothing but a clear yes lets anybody in.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Endpoint } from '@alkdev/pubsub-native/iroh';
import { eventually, PATIENCE_MS, within } from '../websocket/facts.mjs';
import { dial, introduce, makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';

const alpns = ['test/1'];

/** An endpoint with a filter, another that knows it, and what dials. */
async function pair(t, options) {
  const [server, client] = [await makeEndpoint(t, { alpns, ...options }), await makeEndpoint(t)];
  introduce(client, server);
  return { server, client, connect: () => client.connect(server.nodeId(), 'test/1') };
}

/** How the endpoint that is dialled ends a connection. */
async function endOf(connect) {
  const connection = await within(connect(), 'a connection');
  return within(connection.closed(), 'its end');
}

let minutes = 0;

/** The next warning of the process. */
async function warning() {
  const [{ code, message }] = await within(once(process, 'warning'), 'a warning');
  return { code, message };
}

test('it is told who comes, by which protocol and from where, and lets in by true', async (t) => {
  const infos = [];
  const incoming = (info) => infos.push(info) > 0;
  const { server, client, connect } = await pair(t, { incoming });
  const accepting = server.accept();
  await connect();
  assert.equal((await within(accepting, 'it came')).remoteNodeId(), client.nodeId());
  const [remoteAddress] = client.boundSockets();
  assert.deepEqual(infos, [{ nodeId: client.nodeId(), alpn: 'test/1', remoteAddress, relay: undefined }]);
  assert.deepEqual([server.stats().accepted, server.stats().refused], [1, 0]);
});

test('who is refused hears 4403, and nobody else hears of it', async (t) => {
  const { server, connect } = await pair(t, { incoming: async () => false });
  const accepting = server.accept({ timeoutMs: 300 });
  accepting.catch(() => {});
  assert.deepEqual(await endOf(connect), { code: 4403, reason: 'this endpoint does not let you in' });
  await assert.rejects(accepting, { code: 'ERR_TIMED_OUT' });
  assert.deepEqual([server.stats().accepted, server.stats().refused], [0, 1]);
});

test('it stands between the lists and the hub: not asked about the denied, and no hub about whom it refuses', async (t) => {
  const [asked, authorized] = [[], []];
  const incoming = ({ nodeId, alpn }) => asked.push([nodeId, alpn]) > 0 && nodeId !== unwelcome.nodeId();
  const endpoint = await makeEndpoint(t, { incoming });
  const [denied, unwelcome, welcome] = [await makeEndpoint(t), await makeEndpoint(t), await makeEndpoint(t)];
  endpoint.setAccess({ deny: [denied.nodeId()] });
  await makeHub(t, { endpoint, authorize: { connect: ({ identity }) => authorized.push(identity) > 0 } });
  for (const [own, code] of [
    [denied, 'ERR_FORBIDDEN'],
    [unwelcome, 'ERR_FORBIDDEN'],
  ])
    await assert.rejects(within(dial(t, endpoint, { endpoint: own }), 'it is refused'), { code });
  await makeSpoke(t, endpoint, { endpoint: welcome });
  const native = 'alkpubsub/1+hello';
  assert.deepEqual(asked, [
    [unwelcome.nodeId(), native],
    [welcome.nodeId(), native],
  ]);
  assert.deepEqual(authorized, [`iroh:${welcome.nodeId()}`]);
});

test('whom the endpoint dials it is not asked about', async (t) => {
  let asked = 0;
  const [careful, server] = [await makeEndpoint(t, { incoming: () => ++asked < 0 }), await makeEndpoint(t, { alpns })];
  introduce(careful, server);
  const accepting = server.accept();
  const near = await within(careful.connect(server.nodeId(), 'test/1'), 'a connection');
  await within(accepting, 'it came');
  assert.deepEqual([asked, near.closeReason(), careful.stats().refused], [0, undefined, 0]);
});

test('a filter counts as asking who comes: its hub needs no authorize', async (t) => {
  const endpoint = await makeEndpoint(t, { bind: '0.0.0.0:0', incoming: () => true });
  await makeHub(t, { endpoint });
});

for (const [sentence, incoming, text] of [
  ['throws', () => assert.fail('no idea'), /incoming failed, nobody was let in: no idea/],
  ['rejects', () => Promise.reject('nothing to say'), /nothing to say/],
  ['answers with something else than a boolean', () => 'yes', /the answer of incoming must be a boolean/],
])
  test(`a filter that ${sentence} lets nobody in, and that is reported`, { timeout: 20_000 }, async (t) => {
    const { server, connect } = await pair(t, { incoming });
    // One warning per code and minute: each test has a minute of its own.
    t.mock.method(Date, 'now', () => performance.timeOrigin + performance.now() + 61_000 * ++minutes);
    const warned = warning();
    assert.deepEqual(await endOf(connect), {
      code: 1011,
      reason: 'this endpoint cannot decide now whether you may come in',
    });
    assert.equal(server.stats().refused, 1);
    const { code, message } = await warned;
    assert.equal(code, 'ERR_HANDLER_FAILED');
    assert.match(message, text);
  });

test('no answer in time is 4408, and an answer after that does no harm', async (t) => {
  let answer;
  const incoming = () => new Promise((resolve) => (answer = resolve));
  const { server, connect } = await pair(t, { incoming, incomingTimeoutMs: 50 });
  assert.deepEqual(await endOf(connect), { code: 4408, reason: 'not let in in time' });
  answer(true);
  assert.equal(server.stats().accepted, 0);
});

test('while JavaScript is blocked nobody comes in, and who was refused meanwhile is not asked about later', async (t) => {
  let asked = 0;
  const { server, connect } = await pair(t, { incoming: () => ++asked > 0, incomingTimeoutMs: 20 });
  const connecting = connect();
  const deadline = Date.now() + PATIENCE_MS;
  // Blocked: no answer can be given before its time is over.
  while (server.stats().refused === 0 && Date.now() < deadline);
  assert.deepEqual([server.stats().refused, server.stats().accepted], [1, 0]);
  const connection = await within(connecting, 'a connection');
  assert.equal((await within(connection.closed(), 'its end')).code, 4408);
  assert.equal(asked, 0);
});

test('who goes while it is thought about, or is denied meanwhile, is gone', async (t) => {
  const answers = [];
  const incoming = () => new Promise((resolve) => answers.push(resolve));
  const { server, client, connect } = await pair(t, { incoming });
  const [gone, denied] = [await within(connect(), 'a connection'), await within(connect(), 'another')];
  await eventually(() => answers.length === 2, 'both are asked about');
  gone.close(7, 'changed my mind');
  server.setAccess({ deny: [client.nodeId()] });
  assert.equal((await within(denied.closed(), 'its end')).code, 4403);
  await eventually(() => server.stats().connections === 0, 'nothing is left');
  for (const answer of answers) answer(true);
  await assert.rejects(server.accept({ timeoutMs: 100 }), { code: 'ERR_TIMED_OUT' });
  assert.equal(server.stats().accepted, 0);
});

test('at most 256 wait to be let in, one more is closed with 1013', { timeout: 60_000 }, async (t) => {
  const answers = [];
  const incoming = () => new Promise((resolve) => answers.push(resolve));
  const { server, connect } = await pair(t, { incoming, incomingTimeoutMs: 60_000 });
  const connections = [];
  while (connections.length < 256) connections.push(...(await Promise.all(Array.from({ length: 32 }, connect))));
  await eventually(() => answers.length === 256, 'all are asked about');
  assert.deepEqual(await endOf(connect), { code: 1013, reason: 'too many wait to be let in' });
  for (const answer of answers) answer(false);
  const ends = await Promise.all(connections.map((connection) => within(connection.closed(), 'its end')));
  assert.ok(ends.every(({ code }) => code === 4403));
  assert.equal(server.stats().refused, 257);
});

test('an endpoint that closes lets nobody in that still waits', async (t) => {
  let isAsked = false;
  const incoming = () => {
    isAsked = true;
    return new Promise(() => {});
  };
  const { server, connect } = await pair(t, { incoming });
  const connection = await within(connect(), 'a connection');
  await eventually(() => isAsked, 'it is asked about');
  const closing = server.close();
  assert.equal((await within(connection.closed(), 'its end')).code, 1001);
  await closing;
});

test('options that cannot work are refused', async () => {
  const refused = (options, message) =>
    assert.rejects(Endpoint.createWithOptions(options), { code: 'ERR_INVALID_OPTION', message });
  await refused({ incoming: true }, /incoming must be a function/);
  await refused({ incomingTimeoutMs: 0 }, /incomingTimeoutMs must be a positive integer/);
});
