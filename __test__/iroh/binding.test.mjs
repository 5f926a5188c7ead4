// Endpoints, connections, streams and datagrams of the application's own.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { Endpoint, parseNodeId } from '@alkdev/pubsub-native/iroh';
import { within } from '../websocket/facts.mjs';
import { introduce, makeEndpoint, makeSpoke } from './endpoints.mjs';

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

test('datagrams arrive, and one that is too large is refused', async (t) => {
  const { near, far } = await connect(t);
  await near.sendDatagram(bytes('ping'));
  assert.equal(text(await within(far.readDatagram(), 'a datagram')), 'ping');
  await assert.rejects(near.sendDatagram(new Uint8Array(70_000)), { code: 'ERR_MESSAGE_TOO_LARGE' });
});

test('a close carries its code and reason', async (t) => {
  const { near, far } = await connect(t);
  near.close(4242, 'žluť');
  assert.deepEqual(await within(far.closed(), 'it is closed'), { code: 4242, reason: 'žluť' });
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
