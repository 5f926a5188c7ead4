// What befalls links over Iroh: processes that are killed, JavaScript that is blocked, many at once, collected wrappers, close codes.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { Child } from '../websocket/children.mjs';
import { eventually, Log, listenTo, next, within } from '../websocket/facts.mjs';
import { bindEndpoint, dial, eager, introduce, makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';

const peer = '../../iroh/fixtures/peer.mjs';

/** Every code that a connection may be closed with by an application, and what the spoke makes of it. */
const codes = [
  [1000, 'closed', undefined],
  [1001, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [1002, 'reconnecting', 'ERR_PROTOCOL'],
  [1003, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [1007, 'reconnecting', 'ERR_PROTOCOL'],
  [1008, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [1009, 'reconnecting', 'ERR_MESSAGE_TOO_LARGE'],
  [1010, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [1011, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [1012, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [1013, 'reconnecting', 'ERR_SLOW_CONSUMER'],
  [1014, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [3000, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [4401, 'reconnecting', 'ERR_NOT_IDENTIFIED'],
  [4403, 'closed', 'ERR_FORBIDDEN'],
  [4408, 'reconnecting', 'ERR_CONNECTION_LOST'],
  [4999, 'reconnecting', 'ERR_CONNECTION_LOST'],
];

test('every close code and its reason arrive at the spoke verbatim', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const own = await makeEndpoint(t);
  for (const [code, how, error] of codes) {
    const reason = `žluť ${code} ${'.'.repeat(80)}`;
    const spoke = await makeSpoke(t, endpoint, { endpoint: own });
    spoke.addEventListener('error', () => {});
    const [connection] = await eventually(() => hub.connections.size === 1 && hub.connections, 'one connection');
    const heard = how === 'closed' ? within(spoke.closed, `the end by ${code}`) : next(spoke, 'reconnecting');
    connection.close(code, reason);
    const { cause, error: last = cause, ...detail } = await heard;
    assert.equal(last?.code, error, String(code));
    if (how === 'closed') assert.deepEqual([detail.code, detail.reason], [code, reason]);
    if (last !== undefined) assert.equal(last.message, `the hub closed the connection with code ${code}: ${reason}`);
    await spoke.close();
    await eventually(() => hub.connections.size === 0, 'nobody is connected');
  }
});

test('every close code and its reason arrive at the hub verbatim', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const own = await makeEndpoint(t);
  for (const [code] of codes) {
    const spoke = await makeSpoke(t, endpoint, { endpoint: own });
    const heard = next(hub, 'disconnection');
    await spoke.close({ code, reason: `žluť ${code}` });
    const detail = await heard;
    assert.deepEqual([detail.code, detail.reason, detail.clean], [code, `žluť ${code}`, true]);
  }
});

test('what was dispatched before close() arrives, whatever follows at once', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const heard = listenTo(hub, 'last:');
  for (let round = 0; round < 10; round++) {
    const own = await bindEndpoint();
    const spoke = await makeSpoke(t, endpoint, { endpoint: own });
    for (let n = 0; n < 1000; n++) spoke.dispatchEvent(createEvent('last', '', n));
    void spoke.close();
    await spoke.closed;
    await own.close();
  }
  await heard.reaches(10_000);
  assert.deepEqual(
    heard.entries.map(({ payload }) => payload),
    Array.from({ length: 10_000 }, (_, n) => n % 1000),
  );
});

test('a hub that is killed and restarted with its key is found again, and the gap is told', {
  timeout: 120_000,
}, async (t) => {
  const secret = randomBytes(32).toString('hex');
  const first = new Child(t, peer, 'hub', secret, '127.0.0.1:0');
  const { id, sockets } = await first.told('there');
  const endpoint = await makeEndpoint(t, { addresses: { [id]: sockets } });
  const limits = { heartbeatMs: 300 };
  const make = () =>
    within(createIrohSpokeEventTarget({ endpoint, hubNodeId: id, limits, reconnect: eager }), 'the spoke is open');
  const [a, b] = [await make(), await make()];
  t.after(() => Promise.all([a.close({ timeoutMs: 0 }), b.close({ timeoutMs: 0 })]));
  const heard = listenTo(b, 'news:');
  await b.ready('news:');
  const [lost, gap, back] = [next(b, 'reconnecting', 60_000), next(b, 'gap', 60_000), next(a, 'open', 60_000)];
  first.kill('SIGKILL');
  await first.exited;
  assert.equal((await lost).cause.code, 'ERR_TIMED_OUT');
  const second = new Child(t, peer, 'hub', secret, sockets[0]);
  assert.equal((await second.told('there')).id, id);
  const { cause, topics } = await gap;
  assert.deepEqual([cause, topics], ['connection-lost', ['news:']]);
  assert.equal((await back).reconnected, true);
  a.dispatchEvent(createEvent('news', '', 'after'));
  await heard.reaches(1);
});

test('a peer that vanishes is found by the heartbeat, long before the connection times out', async (t) => {
  const { hub, endpoint } = await makeHub(t, { limits: { heartbeatMs: 200 } });
  const spoke = new Child(t, peer, 'spoke', endpoint.nodeId(), endpoint.boundSockets()[0]);
  await spoke.told('there');
  const gone = next(hub, 'disconnection');
  spoke.kill('SIGKILL');
  const { code, reason, clean } = await gone;
  assert.deepEqual([code, reason, clean], [1006, 'no byte came for 2.5 heartbeats', false]);
});

test('a peer that is suspended is found by the heartbeat, and comes back with one gap when it goes on', {
  timeout: 60_000,
}, async (t) => {
  const secret = randomBytes(32).toString('hex');
  const hub = new Child(t, peer, 'hub', secret, '127.0.0.1:0');
  const { id, sockets } = await hub.told('there');
  const endpoint = await makeEndpoint(t, { addresses: { [id]: sockets } });
  const limits = { heartbeatMs: 300 };
  const spoke = await within(
    createIrohSpokeEventTarget({ endpoint, hubNodeId: id, limits, reconnect: eager }),
    'the spoke is open',
  );
  t.after(() => spoke.close({ timeoutMs: 0 }));
  const heard = listenTo(spoke, 'news:');
  await spoke.ready('news:');
  const gaps = new Log();
  spoke.addEventListener('gap', ({ detail }) => gaps.push(detail.cause));
  const lost = next(spoke, 'reconnecting');
  hub.kill('SIGSTOP');
  assert.equal((await lost).cause.code, 'ERR_TIMED_OUT');
  hub.kill('SIGCONT');
  await gaps.reaches(1);
  const other = await makeEndpoint(t, { addresses: { [id]: sockets } });
  const publisher = await within(createIrohSpokeEventTarget({ endpoint: other, hubNodeId: id }), 'another is open');
  t.after(() => publisher.close({ timeoutMs: 0 }));
  publisher.dispatchEvent(createEvent('news', '', 'after'));
  await heard.reaches(1);
  assert.deepEqual(gaps.entries, ['connection-lost']);
});

test('of an id that no list names nothing reaches the application, and it hears 4403', async (t) => {
  const seen = new Log();
  const authorize = { connect: () => seen.push('asked') ?? true };
  const { hub, endpoint } = await makeHub(t, { authorize, onConnection: () => seen.push('connection') });
  hub.addEventListener('error', () => seen.push('error'));
  const [known, unknown] = [await makeEndpoint(t), await makeEndpoint(t)];
  endpoint.setAccess({ allow: [known.nodeId()] });
  await assert.rejects(dial(t, endpoint, { endpoint: unknown }), {
    code: 'ERR_FORBIDDEN',
    message: 'the hub closed the connection with code 4403: this endpoint does not let you in',
  });
  assert.deepEqual(seen.entries, []);
  await makeSpoke(t, endpoint, { endpoint: known });
  assert.deepEqual(seen.entries, ['asked', 'connection']);
});

test('an id that is denied while it is connected loses its link and does not come back', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const [own, other] = [await makeEndpoint(t), await makeEndpoint(t)];
  const spoke = await makeSpoke(t, endpoint, { endpoint: own });
  await makeSpoke(t, endpoint, { endpoint: other });
  spoke.addEventListener('error', () => {});
  const gone = next(hub, 'disconnection');
  endpoint.setAccess({ deny: [own.nodeId()] });
  const { code, reason, error } = await within(spoke.closed, 'the spoke ends');
  assert.deepEqual([code, reason, error.code], [4403, 'this endpoint does not let you in', 'ERR_FORBIDDEN']);
  await gone;
  assert.equal(hub.connections.size, 1);
  await assert.rejects(dial(t, endpoint, { endpoint: own }), { code: 'ERR_FORBIDDEN' });
  endpoint.setAccess({});
  await makeSpoke(t, endpoint, { endpoint: own });
});

test('two hundred spokes come in at once and all hear', { timeout: 120_000 }, async (t) => {
  // Handshakes of both ends in one process, in a debug build: they take their time.
  const limits = { handshakeMs: 60_000 };
  const { hub, endpoint } = await makeHub(t, { limits });
  const endpoints = await Promise.all(Array.from({ length: 20 }, () => makeEndpoint(t)));
  const dialled = Array.from({ length: 200 }, (_, n) => dial(t, endpoint, { endpoint: endpoints[n % 20], limits }));
  const spokes = await within(Promise.all(dialled), 'all are open', 60_000);
  const heard = new Log();
  for (const spoke of spokes) spoke.addEventListener('all:', () => heard.push(1));
  await within(Promise.all(spokes.map((spoke) => spoke.ready('all:'))), 'all are subscribed', 60_000);
  assert.equal(hub.connections.size, 200);
  hub.dispatchEvent(createEvent('all', '', null));
  await heard.reaches(200);
});

/** Blocks this thread: nothing of JavaScript runs meanwhile. */
function block(ms) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

for (const bytes of [20, 100]) {
  const sentence = `JavaScript blocked for ten seconds under a flood of small events of about ${bytes} bytes: all arrive, in order`;
  test(sentence, { timeout: 120_000 }, async (t) => {
    const count = 300_000;
    const { hub, endpoint } = await makeHub(t);
    const faults = new Log();
    for (const name of ['error', 'disconnection', 'backpressure']) hub.addEventListener(name, () => faults.push(name));
    let heard = 0;
    let ordered = true;
    const done = new Promise((resolve) =>
      hub.addEventListener('f:', ({ detail }) => {
        ordered &&= Number.parseInt(detail.payload, 10) === heard;
        if (++heard === count) resolve();
      }),
    );
    const spoke = new Child(t, peer, 'spoke', endpoint.nodeId(), endpoint.boundSockets()[0]);
    await spoke.told('there');
    const before = process.memoryUsage.rss();
    spoke.say({ count, bytes });
    await eventually(() => heard > 0, 'it has begun');
    block(10_000);
    const grown = process.memoryUsage.rss() - before;
    assert.ok(heard < count, 'it was not over before');
    await within(done, `all events, ${heard} came`, 90_000);
    assert.deepEqual([ordered, faults.entries], [true, []]);
    assert.equal((await spoke.told('flooded')).dropped, 0);
    assert.ok(grown < 64 * 2 ** 20, `grown by ${grown} bytes while it was blocked`);
  });
}

test('links live on when nobody holds their endpoints', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const { hub, spoke } = await withoutEndpoints(t);
  const heard = listenTo(spoke, 'late:');
  await spoke.ready('late:');
  for (let round = 0; round < 20; round++) {
    collect();
    await turn();
    hub.dispatchEvent(createEvent('late', '', round));
    await heard.reaches(round + 1);
  }
});

test('nothing is lost while garbage is collected under load', { timeout: 60_000 }, async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc');
  const { hub, spoke } = await withoutEndpoints(t);
  const [up, down] = [listenTo(hub, 'up:'), listenTo(spoke, 'down:')];
  await spoke.ready('down:');
  const rounds = 40;
  const each = 500;
  for (let round = 0; round < rounds; round++) {
    for (let n = 0; n < each; n++) {
      spoke.dispatchEvent(createEvent('up', '', round * each + n));
      hub.dispatchEvent(createEvent('down', '', round * each + n));
    }
    collect();
    await turn();
  }
  const expected = Array.from({ length: rounds * each }, (_, n) => n);
  for (const heard of [up, down]) {
    await heard.reaches(expected.length);
    assert.deepEqual(
      heard.entries.map(({ payload }) => payload),
      expected,
    );
  }
});

/** The endpoints are reachable by nothing afterwards. */
async function withoutEndpoints(t) {
  const [hubEndpoint, endpoint] = [await bindEndpoint(), await bindEndpoint()];
  introduce(endpoint, hubEndpoint);
  const { hub } = await makeHub(t, { endpoint: hubEndpoint });
  const spoke = await createIrohSpokeEventTarget({ endpoint, hubNodeId: hubEndpoint.nodeId() });
  t.after(() => spoke.close({ timeoutMs: 0 }));
  return { hub, spoke };
}
