// Endpoints, connections, streams and datagrams of the application's own.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { Endpoint, formatTicket, parseNodeId, parseTicket } from '@alkdev/pubsub-native/iroh';
import { eventually, within } from '../websocket/facts.mjs';
import { introduce, makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (string) => new TextEncoder().encode(string);

/** Two ends of one connection. */
async function connect(t) {
  const [server, client] = [await makeEndpoint(t, { alpns: ['test/1'] }), await makeEndpoint(t)];
  introduce(client, server);
  const accepting = server.accept();
  const near = await within(client.connect(server.nodeId(), 'test/1'), 'a connection');
  return { server, client, near, far: await within(accepting, 'it came') };
}

test('a connection knows who is at its other end, and by which protocol', async (t) => {
  const { server, client, near, far } = await connect(t);
  assert.deepEqual([near.remoteNodeId(), near.alpn()], [server.nodeId(), 'test/1']);
  assert.deepEqual([far.remoteNodeId(), far.alpn()], [client.nodeId(), 'test/1']);
  assert.match(server.nodeId(), /^[0-9a-f]{64}$/);
});

test('bytes go both ways on a stream, and its end is told', async (t) => {
  const { near, far } = await connect(t);
  const here = await near.openBi();
  await here.send.writeAll(bytes('hello'));
  const there = await within(far.acceptBi(), 'a stream');
  assert.equal(text(await there.recv.readExact(5)), 'hello');
  await there.send.writeAll(Buffer.from('abc'));
  const finished = there.send.finish();
  await assert.rejects(here.recv.readExact(4), { code: 'ERR_STREAM_ENDED' });
  await within(finished, 'it has arrived');
  const large = randomBytes(3 * 2 ** 20);
  const [all] = await Promise.all([
    there.recv.readToEnd(4 * 2 ** 20),
    here.send.writeAll(large).then(() => here.send.finish()),
  ]);
  assert.ok(large.equals(all));
  assert.equal(await there.recv.read().catch(() => undefined), undefined);
});

test('a stream that one side alone writes has one half at each end', async (t) => {
  const { near, far } = await connect(t);
  const accepting = far.acceptUni();
  const send = await near.openUni();
  await send.writeAll(bytes('one way'));
  const recv = await within(accepting, 'a stream');
  const finished = send.finish();
  assert.equal(text(await recv.readToEnd(100)), 'one way');
  await within(finished, 'it has arrived');
  await assert.rejects(send.writeAll(bytes('more')), { code: 'ERR_STREAM_ENDED' });
  await assert.rejects(near.acceptUni({ timeoutMs: 10 }), { code: 'ERR_TIMED_OUT' });
  await assert.rejects(near.openUni({ signal: AbortSignal.abort(new Error('no')) }), { message: 'no' });
});

test('reset and stop end a stream at once for both sides, and the codes are told', async (t) => {
  const { near, far } = await connect(t);
  const [written, read] = [await near.openUni(), await near.openUni()];
  await written.writeAll(bytes('a'));
  const atFar = await within(far.acceptUni(), 'a stream');
  assert.equal(text(await atFar.readExact(1)), 'a');
  const waiting = atFar.readExact(1);
  written.reset(7);
  await assert.rejects(waiting, { code: 'ERR_STREAM_ENDED', message: /reset the stream with code 7/ });
  await assert.rejects(written.writeAll(bytes('b')), { code: 'ERR_STREAM_ENDED', message: /given the stream up/ });

  await read.writeAll(bytes('a'));
  const stopped = await within(far.acceptUni(), 'a stream');
  await stopped.readExact(1);
  const own = stopped.readExact(1);
  stopped.stop(9);
  await assert.rejects(own, { code: 'ERR_STREAM_ENDED', message: /given the stream up with code 9/ });
  // Until the peer hears of it, more than any window is taken.
  const writeOn = async () => {
    for (;;) await read.writeAll(new Uint8Array(100_000));
  };
  await assert.rejects(within(writeOn(), 'the end of writing'), {
    code: 'ERR_STREAM_ENDED',
    message: /stopped the stream with code 9/,
  });
  await assert.rejects(read.finish(), { code: 'ERR_STREAM_ENDED' });
  assert.throws(() => read.reset(-1), { code: 'ERR_INVALID_OPTION' });
});

test('a writer that waits for room is ended by reset', async (t) => {
  const { near, far } = await connect(t);
  const send = await near.openUni();
  const writing = send.writeAll(new Uint8Array(8 * 2 ** 20));
  await within(far.acceptUni(), 'a stream nobody reads');
  await assert.rejects(send.writeAll(bytes('behind it'), { timeoutMs: 50 }), { code: 'ERR_TIMED_OUT' });
  send.reset(1);
  await assert.rejects(within(writing, 'the end of waiting'), { code: 'ERR_STREAM_ENDED' });
});

test('datagrams arrive, and one that is too large is refused', async (t) => {
  const { near, far } = await connect(t);
  await near.sendDatagram(bytes('ping'));
  assert.equal(text(await within(far.readDatagram(), 'a datagram')), 'ping');
  const most = near.maxDatagramSize();
  assert.ok(most > 1000 && most < 70_000, `${most}`);
  await near.sendDatagram(new Uint8Array(most));
  assert.equal((await within(far.readDatagram(), 'a datagram')).length, most);
  await assert.rejects(near.sendDatagram(new Uint8Array(70_000)), { code: 'ERR_MESSAGE_TOO_LARGE' });
});

test('a close carries its code and reason', async (t) => {
  const { near, far } = await connect(t);
  assert.deepEqual([near.closeReason(), far.closeReason()], [undefined, undefined]);
  await assert.rejects(far.closed({ timeoutMs: 10 }), { code: 'ERR_TIMED_OUT' });
  near.close(4242, 'žluť');
  assert.deepEqual(await within(far.closed(), 'it is closed'), { code: 4242, reason: 'žluť' });
  assert.deepEqual(far.closeReason(), { code: 4242, reason: 'žluť' });
  assert.deepEqual(near.closeReason(), { code: undefined, reason: 'this end has closed it' });
  await assert.rejects(
    far.openBi().then(({ send }) => send.writeAll(bytes('x'))),
    { code: 'ERR_CONNECTION_LOST' },
  );
});

test('what waits is given up by a signal or a limit, and what comes later is not lost', async (t) => {
  const { server, client, near, far } = await connect(t);
  await assert.rejects(server.accept({ timeoutMs: 10 }), { code: 'ERR_TIMED_OUT' });
  await assert.rejects(far.acceptBi({ timeoutMs: 10 }), { code: 'ERR_TIMED_OUT' });
  const controller = new AbortController();
  const reading = far.readDatagram({ signal: controller.signal });
  controller.abort(new Error('enough'));
  await assert.rejects(reading, { message: 'enough' });
  await assert.rejects(client.connect(server.nodeId(), 'other/1', { timeoutMs: 10_000 }), { code: 'ERR_HANDSHAKE' });
  await near.sendDatagram(bytes('late'));
  assert.equal(text(await within(far.readDatagram(), 'a datagram')), 'late');
  const again = client.connect(server.nodeId(), 'test/1');
  await within(server.accept(), 'the next connection');
  await again;
});

test('a hub and connections of the application share an endpoint', async (t) => {
  const { server, near, far } = await connect(t);
  const hub = await createIrohHubEventTarget({ endpoint: server });
  t.after(() => hub.close({ timeoutMs: 0 }));
  await makeSpoke(t, server);
  await near.sendDatagram(bytes('x'));
  await within(far.readDatagram(), 'a datagram');
  await assert.rejects(server.connect('nonsense', 'test/1'), { code: 'ERR_INVALID_ID' });
});

test('a connection knows the ways that its packets take, and counts them', async (t) => {
  const { server, client, near, far } = await connect(t);
  const { send } = await near.openBi();
  await send.writeAll(new Uint8Array(10_000));
  const there = await within(far.acceptBi(), 'a stream');
  await there.recv.readExact(10_000);
  const [path] = near.paths();
  assert.deepEqual([path.kind, path.address, path.selected], ['direct', server.boundSockets()[0], true]);
  assert.ok(path.rttMs > 0 && path.sentBytes >= 10_000 && path.receivedBytes > 0, JSON.stringify(path));
  assert.deepEqual(far.paths()[0].address, client.boundSockets()[0]);
  const { sentBytes, receivedBytes, sentDatagrams, lostBytes } = near.stats();
  assert.ok(sentBytes >= 10_000 && receivedBytes > 0 && sentDatagrams > 5, JSON.stringify(near.stats()));
  assert.equal(lostBytes, 0);
  assert.equal(client.paths(server.nodeId()).length, near.paths().length);
  assert.deepEqual(client.paths(client.nodeId()), []);
  assert.throws(() => client.paths('nonsense'), { code: 'ERR_INVALID_ID' });
});

test('an endpoint counts its connections, whom its lists refuse, and handshakes that fail', async (t) => {
  const { server, client, near } = await connect(t);
  assert.deepEqual(client.stats(), {
    connections: 1,
    accepted: 0,
    dialled: 1,
    denied: 0,
    refused: 0,
    failed: 0,
    crowdedOut: 0,
    retried: 0,
  });
  near.close();
  await eventually(() => client.stats().connections === 0 && server.stats().connections === 0, 'both have let it go');
  server.setAccess({ deny: [client.nodeId()] });
  const refused = await client.connect(server.nodeId(), 'test/1');
  assert.equal((await within(refused.closed(), 'the end')).code, 4403);
  await assert.rejects(client.connect(server.nodeId(), 'other/1'), { code: 'ERR_HANDSHAKE' });
  await eventually(() => server.stats().failed === 1, 'the failed handshake is counted');
  const { accepted, denied } = server.stats();
  assert.deepEqual([accepted, denied, client.stats().dialled], [1, 1, 2]);
});

test('a ticket stands for an id and its addresses wherever one of them is asked for', async (t) => {
  const server = await makeEndpoint(t, { alpns: ['test/1'] });
  const ticket = server.ticket();
  assert.match(ticket, /^endpoint[a-z2-7]+$/);
  const { nodeId, addresses } = parseTicket(ticket);
  assert.deepEqual([nodeId, addresses], [server.nodeId(), server.addresses()]);
  assert.equal(formatTicket({ nodeId, addresses }), ticket);
  assert.deepEqual(parseTicket(nodeId), { nodeId, addresses: [] });
  const relayed = formatTicket({ nodeId, addresses: ['127.0.0.1:1', 'https://relay.example./'] });
  assert.deepEqual(parseTicket(relayed).addresses, ['127.0.0.1:1', 'https://relay.example./']);

  const users = [
    async (endpoint) => endpoint.connect(ticket, 'test/1'),
    async (endpoint) => endpoint.addAddress(ticket),
    async (endpoint) => endpoint.addAddress(nodeId, [ticket]),
  ];
  for (const use of users) {
    const endpoint = await makeEndpoint(t);
    await use(endpoint);
    await within(endpoint.connect(nodeId, 'test/1'), 'it is found');
  }
  const listed = await makeEndpoint(t, { addresses: [ticket] });
  await within(listed.connect(nodeId, 'test/1'), 'it is found');

  const other = await makeEndpoint(t);
  assert.throws(() => other.addAddress(other.nodeId(), ticket), { code: 'ERR_INVALID_OPTION' });
  assert.throws(() => other.addAddress(nodeId), { code: 'ERR_INVALID_OPTION' });
  for (const text of ['', 'endpoint', ticket.slice(0, -3), `${ticket}!`, 'endpointaaaa', `endpoint${'a'.repeat(9000)}`])
    assert.throws(() => parseTicket(text), { name: 'TypeError', code: 'ERR_INVALID_ID' });
  assert.throws(() => parseNodeId(ticket), { code: 'ERR_INVALID_ID' });
});

test('hubs and spokes take tickets: who dials, who is dialled, who waits', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const make = async (options) => {
    const own = await makeEndpoint(t);
    const made = createIrohSpokeEventTarget({ endpoint: own, ...options });
    t.after(() => made.then((spoke) => spoke.close({ timeoutMs: 0 })));
    return { own, made };
  };
  await within((await make({ hubNodeId: endpoint.ticket() })).made, 'it dialled');
  const { own, made } = await make({ accept: endpoint.ticket() });
  await within(hub.dial(own.ticket(), { timeoutMs: 10_000 }), 'it was dialled');
  await within(made, 'it waited');
  await assert.rejects(hub.dial('endpointnonsense'), { code: 'ERR_INVALID_ID' });
  const silent = await makeEndpoint(t);
  const lost = formatTicket({ nodeId: silent.nodeId(), addresses: ['127.0.0.1:9'] });
  await assert.rejects(hub.dial(lost, { timeoutMs: 50 }), { code: 'ERR_TIMED_OUT' });
  await assert.rejects(hub.dial(lost, { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
});

test('addresses are told at once, until the endpoint is closed or a signal says so', async (t) => {
  const endpoint = await makeEndpoint(t);
  const watching = endpoint.watchAddr();
  assert.deepEqual((await within(watching.next(), 'the addresses')).value, endpoint.addresses());
  const late = watching.next();
  const controller = new AbortController();
  const given = endpoint.watchAddr({ signal: controller.signal });
  await given.next();
  const aborted = given.next();
  controller.abort(new Error('enough'));
  await assert.rejects(aborted, { message: 'enough' });
  const limited = endpoint.watchAddr({ timeoutMs: 10 });
  await limited.next();
  await assert.rejects(limited.next(), { code: 'ERR_TIMED_OUT' });
  await endpoint.close();
  assert.deepEqual(await within(late, 'the end'), { done: true, value: undefined });
});

test('a connection that nobody holds any more is not closed', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const { far } = await connectAndForget(t);
  for (let round = 0; round < 20; round++) {
    collect();
    await turn();
    await far.sendDatagram(bytes('x'));
  }
  assert.equal(far.closeReason(), undefined);
});

/** One end is reachable by nothing afterwards. */
async function connectAndForget(t) {
  const { far, near } = await connect(t);
  assert.equal(near.alpn(), 'test/1');
  return { far };
}

test('a key in a file is made once, for its owner alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'iroh-key-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const keyFile = join(folder, 'key');
  const first = await makeEndpoint(t, { keyFile });
  assert.equal(statSync(keyFile).mode & 0o777, 0o600);
  const second = await makeEndpoint(t, { keyFile });
  assert.equal(second.nodeId(), first.nodeId());
  const secretKey = Buffer.from(readFileSync(keyFile, 'utf8').trim(), 'hex');
  assert.equal((await makeEndpoint(t, { secretKey })).nodeId(), first.nodeId());
  chmodSync(keyFile, 0o644);
  await assert.rejects(Endpoint.createWithOptions({ keyFile }), { code: 'ERR_INVALID_OPTION', message: /mode 644/ });
});

test('ids are read in several forms and printed in one', async (t) => {
  const id = (await makeEndpoint(t)).nodeId();
  assert.equal(parseNodeId(id.toUpperCase()), id);
  for (const text of ['', id.slice(1), `${id}0`, 'x'.repeat(64), 'z'.repeat(52)])
    assert.throws(() => parseNodeId(text), { name: 'TypeError', code: 'ERR_INVALID_ID' });
});

test('options that cannot work are refused with their names', async () => {
  const attempts = [
    { secretkey: 1 },
    { secretKey: new Uint8Array(31) },
    { bind: 'nowhere' },
    { relays: 'some' },
    { relays: ['not a url'] },
    { idleTimeoutMs: 0 },
    { bind: [] },
    { addresses: { nonsense: '127.0.0.1:1' } },
    { alpns: 'x' },
  ];
  for (const options of attempts)
    await assert.rejects(Endpoint.createWithOptions({ bind: '127.0.0.1:0', ...options }), (error) =>
      ['ERR_INVALID_OPTION', 'ERR_INVALID_ID'].includes(error.code),
    );
});

test('an address that is taken is ERR_LISTEN', async (t) => {
  const endpoint = await makeEndpoint(t);
  await assert.rejects(makeEndpoint(t, { bind: endpoint.boundSockets()[0] }), { code: 'ERR_LISTEN' });
});
