// Peers and programs that do what they should not: illegal frames, streams and datagrams that nobody wants, names and reasons of any length, calls given up
// in the worst moment. Each costs whoever does it its own connection, and nobody else anything.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { Endpoint } from '@alkdev/pubsub-native/iroh';
import { eventually, next, within } from '../websocket/facts.mjs';
import { introduce, makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';

const alpn = 'alkpubsub/1';

/** Far more than the addon needs on a busy machine for what is asked of it meanwhile. */
const BLOCK_MS = 1500;

/** JavaScript does nothing else for so long; the addon goes on. */
function block(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** An endpoint that accepts `mine/1`, and one that dials it. */
async function pair(t) {
  const [server, client] = [await makeEndpoint(t, { alpns: ['mine/1'] }), await makeEndpoint(t)];
  introduce(client, server);
  return { server, client, connect: () => within(client.connect(server.nodeId(), 'mine/1'), 'a connection') };
}

/** The hub still carries events to whoever behaves. */
async function assertCarries(hub, spoke) {
  await within(spoke.ready('fine:1'), 'it is subscribed');
  const heard = next(spoke, 'fine:1');
  hub.dispatchEvent(new CustomEvent('fine:1', { detail: { type: 'fine', id: '1', payload: 1 } }));
  assert.equal((await heard).payload, 1);
}

const frame = (text) => Buffer.concat([Buffer.from([0, 0, 0, text.length]), Buffer.from(text)]);

for (const [sentence, bytes, code] of [
  ['a frame of length 0', Buffer.from([0, 0, 0, 0]), 1002],
  ['a frame one byte above the limit', Buffer.from([0, 16, 0, 1]), 1009],
  ['a frame of 2^31 bytes', Buffer.from([128, 0, 0, 0]), 1009],
  ['a frame of 2^32 - 1 bytes', Buffer.from([255, 255, 255, 255]), 1009],
  ['more than 100 messages that are none', Buffer.concat(Array.from({ length: 101 }, () => frame('{'))), 1008],
])
  test(`${sentence} ends the link of whoever sent it with ${code}, of a hub's peer and of a spoke's`, async (t) => {
    const { hub, endpoint } = await makeHub(t);
    hub.addEventListener('error', () => {});
    const [good, bad] = [await makeSpoke(t, endpoint), await makeEndpoint(t, { alpns: [alpn] })];
    introduce(bad, endpoint);
    good.addEventListener('fine:1', () => {});
    const connection = await within(bad.connect(endpoint.nodeId(), alpn), 'a connection');
    const { send } = await connection.openBi();
    await send.writeAll(bytes);
    assert.equal((await within(connection.closed(), 'its end')).code, code);
    await assertCarries(hub, good);

    const own = await makeEndpoint(t);
    introduce(own, bad);
    const accepting = bad.accept();
    const options = { endpoint: own, hubNodeId: bad.nodeId(), peer: 'plain', reconnect: false };
    const dialling = createIrohSpokeEventTarget(options);
    dialling.then(
      (spoke) => spoke.addEventListener('error', () => {}),
      () => {},
    );
    const called = await within(accepting, 'the spoke has come');
    const stream = await within(called.acceptBi(), 'its stream');
    await stream.send.writeAll(bytes);
    assert.equal((await within(called.closed(), 'its end')).code, code);
  });

test('half a header, half a frame, an end, a reset, a stop, datagrams, no stream: nobody else is concerned', async (t) => {
  const { hub, endpoint } = await makeHub(t, { limits: { handshakeMs: 500 } });
  const good = await makeSpoke(t, endpoint);
  good.addEventListener('fine:1', () => {});
  const bad = await makeEndpoint(t);
  introduce(bad, endpoint);
  const steps = [
    ({ send }) => void send.finish().catch(() => {}),
    ({ send }) => send.reset(3),
    ({ recv }) => recv.stop(3),
    (_, connection) => connection.close(2 ** 32 - 1, 'enough'),
  ];
  for (const bytes of [
    [0, 0],
    [0, 0, 0, 9, 123],
  ])
    for (const step of steps) {
      const connection = await within(bad.connect(endpoint.nodeId(), alpn), 'a connection');
      const stream = await connection.openBi();
      await stream.send.writeAll(Uint8Array.from(bytes));
      await eventually(() => hub.stats().connections === 2, 'it is a connection of the hub');
      for (let count = 0; count < 200; count++) await connection.sendDatagram(new Uint8Array(1000));
      step(stream, connection);
      connection.close(7);
      await eventually(() => hub.stats().connections === 1, 'it has gone');
    }
  const silent = await within(bad.connect(endpoint.nodeId(), alpn), 'a connection');
  assert.equal((await within(silent.closed(), 'its end')).code, 4408);
  await eventually(() => endpoint.stats().connections === 1, 'nothing is left of them');
  await assertCarries(hub, good);
});

test('a stranger may leave 512 KiB here, however many streams it opens; more once it is accepted', async (t) => {
  const { server, connect } = await pair(t);
  const near = await connect();
  const streams = await Promise.all(Array.from({ length: 8 }, () => near.openUni()));
  let written = 0;
  const writing = streams.map((stream) => stream.writeAll(new Uint8Array(2 ** 17)).then(() => written++));
  await eventually(() => written === 4, 'four times 128 KiB are there');
  await within(near.openUni(), 'another stream, which takes a round trip or none');
  assert.equal(written, 4);
  await within(server.accept(), 'it is accepted');
  await within(Promise.all(writing), 'all of them are there');
});

test('who came and went stands in the way of nobody who waits to be accepted', { timeout: 60_000 }, async (t) => {
  const { server, client, connect } = await pair(t);
  for (let count = 0; count < 128; count += 16)
    for (const connection of await Promise.all(Array.from({ length: 16 }, connect))) connection.close();
  await eventually(() => server.stats().accepted === 128 && server.stats().connections === 0, 'all have gone');
  const near = await connect();
  const far = await within(server.accept(), 'the one that lives');
  assert.deepEqual([far.remoteNodeId(), far.closeReason()], [client.nodeId(), undefined]);
  assert.equal(near.closeReason(), undefined);
});

test('what came before it was given up is not lost, also when JavaScript was blocked meanwhile', async (t) => {
  const { server, connect } = await pair(t);
  // Each limit is over before JavaScript looks, and each result was there before that.
  const accepting = server.accept({ timeoutMs: 100 });
  const connecting = connect();
  block(BLOCK_MS);
  const [near, far] = [await connecting, await within(accepting, 'it was there')];
  const { send } = await near.openBi();
  const opening = far.acceptBi({ timeoutMs: 100 });
  const writing = send.writeAll(Buffer.from('abc'));
  block(BLOCK_MS);
  const { recv } = await within(opening, 'the stream was there');
  await writing;
  assert.deepEqual([...(await recv.read(2))], [...Buffer.from('ab')]);
  assert.equal(String(Buffer.from(await recv.readExact(1))), 'c');
  const [reading, datagram] = [
    recv.read(10, { signal: AbortSignal.timeout(100) }),
    far.readDatagram({ timeoutMs: 100 }),
  ];
  const sending = [send.writeAll(Buffer.from('late')), near.sendDatagram(Buffer.from('later'))];
  block(BLOCK_MS);
  assert.equal(String(Buffer.from(await within(reading, 'bytes'))), 'late');
  assert.equal(String(Buffer.from(await within(datagram, 'a datagram'))), 'later');
  await Promise.all(sending);
});

test('a reason of any length ends a connection, and nothing else', async (t) => {
  const { server, connect } = await pair(t);
  for (const code of [0, 2 ** 14, 2 ** 32 - 1]) {
    const near = await connect();
    const far = await within(server.accept(), 'it came');
    near.close(code, `${'x'.repeat(511)}é${'y'.repeat(1_000_000)}`);
    assert.deepEqual(await within(far.closed(), 'its end'), { code, reason: 'x'.repeat(511) });
  }
  const near = await connect();
  const far = await within(server.accept(), 'the endpoints go on');
  near.close(1, 'z'.repeat(512));
  assert.deepEqual(await within(far.closed(), 'its end'), { code: 1, reason: 'z'.repeat(512) });
});

test('a name that no protocol can have is refused before it breaks the handshakes of others', async (t) => {
  const endpoint = await makeEndpoint(t);
  const [longest, long] = ['a'.repeat(255 - '+hello'.length), 'a'.repeat(256 - '+hello'.length)];
  const refused = { code: 'ERR_INVALID_OPTION', message: /alpn "a+" has 256 bytes with what is appended/ };
  for (const alpns of [[''], ['a'.repeat(256)]])
    await assert.rejects(Endpoint.createWithOptions({ bind: '127.0.0.1:0', alpns }), { code: 'ERR_INVALID_OPTION' });
  await assert.rejects(endpoint.connect(endpoint.nodeId(), 'a'.repeat(256)), { code: 'ERR_INVALID_OPTION' });
  const hub = createIrohHubEventTarget({ endpoint, alpn: long });
  await assert.rejects(hub, refused);
  await makeHub(t, { endpoint, alpn: longest });
  const own = await makeEndpoint(t);
  introduce(own, endpoint);
  const dial = (options) => createIrohSpokeEventTarget({ endpoint: own, hubNodeId: endpoint.nodeId(), ...options });
  await assert.rejects(dial({ alpn: long }), refused);
  await assert.rejects(createIrohSpokeEventTarget({ endpoint: own, accept: 'any', alpn: long }), {
    code: 'ERR_INVALID_OPTION',
  });
  await makeSpoke(t, endpoint, { alpn: longest });
});
