// The life of a connection of a hub: callbacks and events about it, its target, what it says of itself, and whose events are whose.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { BareClient, envelope, rush } from './bare-peers.mjs';
import { eventually, Log, listenTo, turn, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

/** A promise with its settlers outside. */
function deferred() {
  const settlers = {};
  const promise = new Promise((resolve, reject) => Object.assign(settlers, { resolve, reject }));
  return { promise, ...settlers };
}

describe('the life of a connection', () => {
  /** A hub that writes down what happens to connections, in order. */
  async function makeWitness(t, onConnection = () => {}, options = {}) {
    const log = new Log();
    const hub = await makeHub(t, {
      onConnection: async (target, connection) => {
        log.push(`onConnection ${connection.id}`);
        target.addEventListener('open', () => log.push(`target open ${connection.id}`));
        target.addEventListener('close', ({ detail }) => log.push(`target close ${connection.id} ${detail.code}`));
        await onConnection(target, connection);
      },
      onDisconnection: (_, connection) => log.push(`onDisconnection ${connection.id}`),
      ...options,
    });
    hub.addEventListener('connection', ({ detail }) => log.push(`connection ${detail.connection.id}`));
    hub.addEventListener('disconnection', ({ detail }) =>
      log.push(`disconnection ${detail.connection.id} ${detail.code} ${detail.reason} ${detail.clean}`),
    );
    hub.addEventListener('error', ({ detail }) => log.push(detail.code));
    hub.addEventListener('p:1', ({ detail }) => log.push(`event ${detail.payload}`));
    return { hub, log };
  }

  test('onConnection, connection, events, disconnection, onDisconnection, each once and in this order', async (t) => {
    const gate = deferred();
    const { hub, log } = await makeWitness(t, () => gate.promise);
    const socket = await rush(t, hub.address.port, envelope('p', '1', 1), envelope('p', '1', 2));
    await log.reaches(1);
    assert.equal(hub.connections.size, 0);
    gate.resolve();
    await log.reaches(5);
    assert.equal(hub.connections.size, 1);
    socket.destroy();
    await log.has((entry) => entry === 'onDisconnection 1');
    const bare = await BareClient.to(t, hub);
    bare.publish('p', '1', 3);
    await log.has((entry) => entry === 'event 3');
    bare.ws.close(4000, 'bye');
    await log.has((entry) => entry === 'onDisconnection 2');
    const withoutReason = log.entries.map((entry) => entry.replace(/^(disconnection 1 \d+) .* (\w+)$/, '$1 $2'));
    assert.deepEqual(withoutReason, [
      'onConnection 1',
      'connection 1',
      'target open 1',
      'event 1',
      'event 2',
      'target close 1 1006',
      'disconnection 1 1006 false',
      'onDisconnection 1',
      'onConnection 2',
      'connection 2',
      'target open 2',
      'event 3',
      'target close 2 4000',
      'disconnection 2 4000 bye true',
      'onDisconnection 2',
    ]);
    assert.equal(hub.connections.size, 0);
  });

  for (const [how, fails] of [
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
    ['rejects', () => Promise.reject(new Error('no'))],
  ]) {
    test(`an onConnection that ${how} closes with 1011, and nothing of the connection is heard`, async (t) => {
      const log = new Log();
      const hub = await makeHub(t, { onConnection: fails });
      hub.addEventListener('error', ({ detail }) => log.push(detail));
      hub.addEventListener('connection', () => log.push('connection'));
      hub.addEventListener('disconnection', () => log.push('disconnection'));
      hub.addEventListener('p:1', () => log.push('event'));
      const began = Date.now();
      const bare = new BareClient(hub.address.url);
      bare.ws.on('open', () => bare.publish('p', '1', 1));
      assert.equal((await within(bare.closed, 'the close')).code, 1011);
      const tookMs = Date.now() - began;
      await log.reaches(1);
      assert.equal(log.entries[0].code, 'ERR_HANDLER_FAILED');
      assert.equal(log.entries[0].cause.message, 'no');
      await eventually(() => hub.stats().connections === 0, 'the connection is gone');
      await turn();
      assert.equal(log.length, 1);
      assert.equal(hub.connections.size, 0);
      assert.ok(tookMs < 1500, `the link is closed at once, not with the next heartbeat: after ${tookMs} ms`);
    });
  }

  test('a connection that leaves while onConnection is pending has a whole life or is never announced', async (t) => {
    const gate = deferred();
    const { hub, log } = await makeWitness(t, (_, { id }) => (id === 1 ? gate.promise : undefined));
    const socket = await rush(t, hub.address.port, envelope('p', '1', 'too early'));
    await log.reaches(1);
    socket.destroy();
    const bare = await BareClient.to(t, hub);
    bare.publish('p', '1', 'of the other');
    await log.has((entry) => entry === 'event of the other');
    gate.resolve();
    await turn();
    bare.ws.close();
    await log.has((entry) => entry === 'onDisconnection 2');
    await log.has((entry) => entry === 'onDisconnection 1');
    // Nothing is read while onConnection is pending, so the hub may not know that the peer has gone, and then finds what it said.
    const ofOne = log.entries.filter((entry) => / 1\b/.test(entry) || entry === 'event too early');
    const withoutReason = ofOne.map((entry) => entry.split(' ').slice(0, 2).join(' '));
    const whole = [
      'onConnection 1',
      'connection 1',
      'target open',
      'event too',
      'target close',
      'disconnection 1',
      'onDisconnection 1',
    ];
    const never = ['onConnection 1', 'target close', 'onDisconnection 1'];
    assert.deepEqual(withoutReason, withoutReason.includes('connection 1') ? whole : never);
  });

  test('a connection may be closed inside onConnection', async (t) => {
    const { hub, log } = await makeWitness(t, (_, connection) => connection.close(4403, 'not you'));
    const began = Date.now();
    const bare = new BareClient(hub.address.url);
    assert.deepEqual(await within(bare.closed, 'the close'), { code: 4403, reason: 'not you' });
    await log.has((entry) => entry === 'onDisconnection 1');
    await eventually(() => hub.connections.size === 0, 'no connection is left');
    assert.ok(Date.now() - began < 1000, 'the connection is gone at once, not with the next heartbeat');
    assert.equal(log.entries.filter((entry) => entry.startsWith('onDisconnection')).length, 1);
    assert.ok(!log.entries.some((entry) => entry.startsWith('event')));
  });

  test('what is dispatched in onConnection reaches a spoke behind the hello, and a peer that says nothing a moment later', async (t) => {
    const hub = await makeHub(t, {
      onConnection: (target) => {
        target.dispatchEvent(createEvent('welcome', '1', { n: 1 }));
        target.dispatchEvent(createEvent('welcome', '1', { n: 2 }));
      },
    });
    for (const peer of ['auto', 'native']) {
      const spoke = makeSpoke(t, hub, { peer });
      const [heard, opens] = [listenTo(spoke, 'welcome:1'), new Log()];
      spoke.addEventListener('open', ({ detail }) => opens.push(detail));
      assert.deepEqual(await within(spoke.ready('welcome:1'), 'the topic'), { acknowledged: true });
      assert.deepEqual(
        (await heard.reaches(2)).map(({ payload }) => payload.n),
        [1, 2],
      );
      assert.deepEqual(opens.entries, [{ reconnected: false, native: true }]);
    }
    const silent = await BareClient.to(t, hub);
    assert.deepEqual(await silent.frames.reaches(2), [
      envelope('welcome', '1', { n: 1 }),
      envelope('welcome', '1', { n: 2 }),
    ]);
  });

  test('the target of a connection sends to a peer that did not subscribe, and hears that peer alone', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target) => targets.push(target), relay: true });
    const clients = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    const [one, two] = await targets.reaches(2);
    const [atOne, atTwo, atHub] = [listenTo(one, 'p:1'), listenTo(two, 'p:1'), listenTo(hub, 'p:1')];
    await Promise.all([one.ready('p:1'), two.ready('p:1'), hub.ready('p:1')]);

    one.dispatchEvent(createEvent('direct', 'you', { n: 1 }));
    hub.dispatchEvent(createEvent('direct', 'you', { n: 2 }));
    one.dispatchEvent(createEvent('direct', 'you', { n: 3 }));
    await clients[0].frames.reaches(2);
    assert.deepEqual(clients[0].frames.entries, [
      envelope('direct', 'you', { n: 1 }),
      envelope('direct', 'you', { n: 3 }),
    ]);

    clients[0].publish('p', '1', 'from one');
    clients[1].publish('p', '1', 'from two');
    await atHub.reaches(2);
    await atOne.reaches(1);
    await atTwo.reaches(1);
    assert.deepEqual(atOne.entries, [{ type: 'p', id: '1', payload: 'from one' }]);
    assert.deepEqual(atTwo.entries, [{ type: 'p', id: '1', payload: 'from two' }]);
    assert.equal(clients[1].frames.length, 0);

    // A listener of one connection alone is enough, and when it goes nothing is heard.
    const alone = new Log();
    const listener = ({ detail }) => alone.push(detail.payload);
    two.addEventListener('q:1', listener);
    await two.ready('q:1');
    clients[0].publish('q', '1', 'from one');
    clients[1].publish('q', '1', 'from two');
    await alone.reaches(1);
    two.removeEventListener('q:1', listener);
    await hub.ready('p:1');
    clients[1].publish('q', '1', 'too late');
    clients[1].publish('p', '1', 'last');
    await atHub.reaches(3);
    assert.deepEqual(alone.entries, ['from two']);
  });

  test('what the hub and the target of a connection dispatch arrives in the order of dispatch', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target) => targets.push(target) });
    const bare = await BareClient.to(t, hub);
    await bare.subscribe(hub, 'p:1');
    const [target] = await targets.reaches(1);
    for (let n = 0; n < 1000; n++) (n % 3 === 0 ? target : hub).dispatchEvent(createEvent('p', '1', n));
    await bare.frames.reaches(1000);
    assert.deepEqual(
      bare.envelopes.map(({ payload }) => payload),
      Array.from({ length: 1000 }, (_, n) => n),
    );
  });

  test('a connection says who it is and counts what it did', async (t) => {
    const hub = await makeHub(t);
    const connections = new Log();
    hub.addEventListener('connection', ({ detail }) => connections.push(detail.connection));
    const headers = { 'x-one': 'a', 'X-Two': ['b', 'c'] };
    const bare = await BareClient.to(t, `${hub.address.url}some/path?q=%20x`, { headers });
    await connections.reaches(1);
    const spoke = await makeOpenSpoke(t, hub, { protocols: ['first', 'second'], headers: { 'x-three': 'd' } });
    const [plain, native] = await connections.reaches(2);
    assert.deepEqual([...hub.connections], [plain, native]);
    assert.ok(plain.id < native.id);
    assert.equal(plain.transport, 'websocket');
    const local = `127.0.0.1:${bare.ws._socket.localPort}`;
    assert.equal(plain.remoteAddress, local);
    assert.equal(plain.url, '/some/path?q=%20x');
    assert.equal(plain.headers['x-one'], 'a');
    assert.equal(plain.headers['x-two'], 'b, c');
    assert.equal(native.headers['x-three'], 'd');
    assert.deepEqual(native.protocols, ['first', 'second']);
    assert.equal(plain.identity, undefined);
    assert.deepEqual([plain.native, native.native], [false, true]);

    plain.data = { of: 'plain' };
    const heard = listenTo(hub, 'p:1');
    bare.publish('p', '1', 1);
    spoke.dispatchEvent(createEvent('p', '1', 2));
    await heard.reaches(2);
    assert.deepEqual(
      [...hub.connections].map(({ data }) => data),
      [{ of: 'plain' }, undefined],
    );
    assert.equal(plain.stats().received, 1);
    assert.equal(plain.bufferedAmount, 0);
  });

  test('sourceOf tells whose event it is', async (t) => {
    const hub = await makeHub(t, { echo: true, onConnection: () => {} });
    const clients = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    const heard = new Log();
    hub.addEventListener('p:1', (event) => heard.push([event.detail.payload, hub.sourceOf(event)]));
    await hub.ready('p:1');
    clients[0].publish('p', '1', 0);
    await heard.reaches(1);
    clients[1].publish('p', '1', 1);
    await heard.reaches(2);
    hub.dispatchEvent(createEvent('p', '1', 2));
    await heard.reaches(3);
    const [one, two] = [...hub.connections];
    assert.deepEqual(
      heard.entries.map(([payload]) => payload),
      [0, 1, 2],
    );
    assert.ok(heard.entries[0][1] === one && heard.entries[1][1] === two && heard.entries[2][1] === undefined);
    assert.equal(hub.sourceOf(new Event('p:1')), undefined);
    assert.equal(hub.sourceOf(createEvent('p', '1', 3)), undefined);
  });

  test('subscribers(topic) counts connections, not listeners', async (t) => {
    const hub = await makeHub(t);
    const [one, two] = [await makeOpenSpoke(t, hub), await makeOpenSpoke(t, hub)];
    const bare = await BareClient.to(t, hub);
    assert.equal(hub.subscribers('p:1'), 0);
    listenTo(one, 'p:1', 'p:2');
    listenTo(one, 'p:1');
    listenTo(two, 'p:1');
    listenTo(hub, 'p:1');
    await Promise.all([one.ready('p:1'), one.ready('p:2'), two.ready('p:1')]);
    bare.publish('__subscribe', '', { topic: 'p:1' });
    await bare.subscribe(hub, 'p:3');
    bare.publish('__subscribe', '', { topic: 'p:1' });
    bare.publish('__unsubscribe', '', { topic: 'p:2' });
    await bare.subscribe(hub, 'p:4');
    assert.deepEqual(
      [1, 2, 3, 5].map((id) => hub.subscribers(`p:${id}`)),
      [3, 1, 1, 0],
    );
    bare.ws.terminate();
    await two.close();
    await eventually(() => hub.subscribers('p:1') === 1, 'those who left no longer count');
    assert.equal(hub.subscribers('p:3'), 0);
  });

  test('a thousand connections come, subscribe and go, and nothing of them is left', async (t) => {
    const departed = new Log();
    const hub = await makeHub(t, { onConnection: () => {}, onDisconnection: (_, { id }) => departed.push(id) });
    for (let round = 0; round < 10; round++) {
      const clients = await Promise.all(Array.from({ length: 100 }, () => BareClient.to(t, hub)));
      for (const client of clients) client.publish('__subscribe', '', { topic: `t:${round}` });
      await eventually(() => hub.subscribers(`t:${round}`) === 100, 'all have subscribed');
      assert.equal(hub.connections.size, 100);
      for (const [index, client] of clients.entries()) index % 2 === 0 ? client.ws.terminate() : client.ws.close();
      await departed.reaches((round + 1) * 100);
    }
    assert.equal(new Set(departed.entries).size, 1000);
    assert.equal(hub.connections.size, 0);
    const { connections, topics, accepted } = hub.stats();
    assert.deepEqual({ connections, topics, accepted }, { connections: 0, topics: 0, accepted: 1000 });
  });
});
