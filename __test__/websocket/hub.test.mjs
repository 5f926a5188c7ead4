// What a hub adds to a target: connections and the callbacks about them, where it listens, who is too slow, how it ends.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { generate } from 'selfsigned';
import { BareClient, envelope, rush } from './bare-peers.mjs';
import { eventually, Log, listenTo, next, turn, within } from './facts.mjs';
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

describe('connection.close(code, reason)', () => {
  const reason = 'reason: gr\u00fc\u00df \u{1f600}';

  for (const code of [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4000, 4401, 4403, 4408, 4999]) {
    test(`${code} is seen verbatim by a bare client`, async (t) => {
      const hub = await makeHub(t);
      const bare = await BareClient.to(t, hub);
      const gone = next(hub, 'disconnection');
      await eventually(() => hub.connections.size === 1, 'the connection');
      const [connection] = hub.connections;
      const { signal } = connection;
      assert.equal(signal.aborted, false);
      connection.close(code, reason);
      assert.deepEqual(await within(bare.closed, 'the close'), { code, reason });
      const detail = await gone;
      assert.ok(detail.connection === connection);
      assert.deepEqual([detail.code, detail.reason, detail.clean], [code, reason, true]);
      assert.equal(signal.aborted, true);
      assert.equal(connection.signal.aborted, true);
      // Nothing is left to close, send to or count.
      connection.close(1000, 'again');
      assert.equal(connection.bufferedAmount, 0);
      assert.equal(hub.connections.size, 0);
    });
  }

  for (const code of [1000, 4403]) {
    test(`${code} ends our spoke, which tells it verbatim`, async (t) => {
      const hub = await makeHub(t);
      const spoke = await makeOpenSpoke(t, hub);
      spoke.addEventListener('error', () => {});
      const [connection] = hub.connections;
      connection.close(code, reason);
      const closed = await within(spoke.closed, 'closed');
      assert.deepEqual([closed.code, closed.reason], [code, reason]);
      assert.equal(closed.error?.code, code === 1000 ? undefined : 'ERR_FORBIDDEN');
    });
  }

  for (const code of [1001, 1012, 4000]) {
    test(`${code} ends our spoke that does not reconnect, which tells it verbatim`, async (t) => {
      const hub = await makeHub(t);
      const spoke = await makeOpenSpoke(t, hub, { reconnect: false });
      spoke.addEventListener('error', () => {});
      const [connection] = hub.connections;
      connection.close(code, reason);
      const closed = await within(spoke.closed, 'closed');
      assert.deepEqual([closed.code, closed.reason], [code, reason]);
      assert.ok(closed.error.code.startsWith('ERR_'));
    });

    test(`after ${code} our spoke comes back`, async (t) => {
      const hub = await makeHub(t);
      const spoke = await makeOpenSpoke(t, hub);
      const lost = next(spoke, 'reconnecting');
      const open = next(spoke, 'open');
      const [connection] = hub.connections;
      connection.close(code, reason);
      const { cause } = await lost;
      assert.ok(cause.message.includes(String(code)) && cause.message.includes(reason), cause.message);
      assert.deepEqual(await open, { reconnected: true, native: true });
    });
  }

  test('what was dispatched before it is delivered, what comes after is not', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target, connection) => targets.push({ target, connection }) });
    const bare = await BareClient.to(t, hub);
    await bare.subscribe(hub, 'p:1');
    const [{ target, connection }] = await targets.reaches(1);
    for (let n = 0; n < 500; n++) hub.dispatchEvent(createEvent('p', '1', n));
    for (let n = 500; n < 1000; n++) target.dispatchEvent(createEvent('p', '1', n));
    connection.close(4001, 'enough');
    hub.dispatchEvent(createEvent('p', '1', 'after'));
    target.dispatchEvent(createEvent('p', '1', 'after'));
    assert.deepEqual(await within(bare.closed, 'the close'), { code: 4001, reason: 'enough' });
    assert.deepEqual(
      bare.envelopes.map(({ payload }) => payload),
      Array.from({ length: 1000 }, (_, n) => n),
    );
  });

  test('close() of the target of a connection does the same', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target) => targets.push(target) });
    const bare = await BareClient.to(t, hub);
    const [target] = await targets.reaches(1);
    const closing = target.close({ code: 4002, reason: 'by the target' });
    assert.equal(target.close(), closing);
    assert.deepEqual(await within(bare.closed, 'the close'), { code: 4002, reason: 'by the target' });
    await within(closing, 'close()');
    assert.deepEqual(await target.closed, { code: 4002, reason: 'by the target' });
    assert.equal(target.state, 'closed');
    assert.equal(target.dispatchEvent(createEvent('p', '1', 1)), true);
  });
});

describe('a client that does not read', () => {
  test('is cut with 1013 and told about, while the others get everything', async (t) => {
    const told = new Log();
    const hub = await makeHub(t, {
      maxBufferedAmount: 256 << 10,
      onBackpressure: (connection, bufferedAmount) => told.push({ connection, bufferedAmount }),
    });
    const events = new Log();
    hub.addEventListener('backpressure', ({ detail }) => events.push(detail));
    const gone = next(hub, 'disconnection', 60_000);
    const [slow, quick] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await slow.subscribe(hub, 'p:1');
    await quick.subscribe(hub, 'p:1');
    const [slowConnection] = hub.connections;
    slow.ws.pause();
    const filler = 'x'.repeat(10_000);
    let sent = 0;
    while (told.length === 0) {
      for (let n = 0; n < 20; n++) hub.dispatchEvent(createEvent('p', '1', { n: sent++, filler }));
      // As fast as the other client reads.
      await quick.frames.reaches(Math.max(0, sent - 200));
      assert.ok(sent < 20_000, 'a client that does not read has taken 200 MB');
    }
    // It reads again in time to see why.
    slow.ws.resume();
    const { code, reason } = await within(slow.closed, 'the close of the slow client');
    assert.equal(code, 1013);
    t.diagnostic(`cut after ${sent} events of 10 KB: ${reason}`);

    assert.equal(told.length, 1);
    assert.ok(told.entries[0].connection === slowConnection);
    assert.ok(told.entries[0].bufferedAmount > 256 << 10, String(told.entries[0].bufferedAmount));
    await events.reaches(1);
    assert.ok(events.entries[0].connection === slowConnection);
    const { connection, code: goneCode } = await gone;
    assert.ok(connection === slowConnection);
    assert.equal(goneCode, 1013);

    hub.dispatchEvent(createEvent('p', '1', { n: sent++, filler: 'last' }));
    await quick.frames.reaches(sent);
    const numbers = (client) => client.envelopes.map(({ payload }) => payload.n);
    assert.deepEqual(
      numbers(quick),
      Array.from({ length: sent }, (_, n) => n),
    );
    // What the slow one got is the beginning, without holes.
    const got = numbers(slow);
    assert.deepEqual(
      got,
      Array.from({ length: got.length }, (_, n) => n),
    );
    assert.ok(got.length < sent);
    const { slowConsumers, dropped } = hub.stats();
    assert.equal(slowConsumers, 1);
    assert.equal(Number(/^\d+/.exec(reason)[0]), dropped, 'the drop is counted');
  });

  test('a spoke of ours that was cut knows why, comes back and is told of the gap', async (t) => {
    const hub = await makeHub(t, { maxBufferedAmount: 64 << 10, stallMs: 0 });
    const spoke = await makeOpenSpoke(t, hub);
    const log = new Log();
    spoke.addEventListener('reconnecting', ({ detail }) => log.push(detail.cause.code));
    spoke.addEventListener('gap', ({ detail }) => log.push(detail.cause));
    spoke.addEventListener('p:1', () => {});
    await spoke.ready('p:1');
    const filler = 'x'.repeat(60_000);
    // This turn never ends for the spoke: its inbox fills, it stops reading, and the hub does not wait for it.
    const deadline = Date.now() + 20_000;
    while (hub.stats().slowConsumers === 0 && Date.now() < deadline) {
      if (hub.bufferedAmount < 1 << 20) hub.dispatchEvent(createEvent('p', '1', filler));
    }
    await log.reaches(2, 20_000);
    assert.equal(hub.stats().slowConsumers, 1);
    assert.deepEqual(log.entries.slice(0, 2), ['ERR_SLOW_CONSUMER', 'slow-consumer']);
  });

  test('readers that keep reading lose nothing of a tight loop', async (t) => {
    const hub = await makeHub(t);
    const clients = await Promise.all(Array.from({ length: 4 }, () => BareClient.to(t, hub)));
    const counts = clients.map(() => 0);
    for (const [index, { ws, frames }] of clients.entries()) {
      // Counted, not kept.
      ws.removeAllListeners('message');
      ws.on('message', (data) => {
        if (data.includes('"last"')) frames.push(data.toString());
        else counts[index]++;
      });
    }
    for (const client of clients) await client.subscribe(hub, 'p:1');
    const filler = 'x'.repeat(1000);
    for (let n = 0; n < 10_000; n++) hub.dispatchEvent(createEvent('p', '1', filler));
    hub.dispatchEvent(createEvent('p', '1', 'last'));
    await Promise.all(clients.map(({ frames }) => frames.reaches(1, 30_000)));
    assert.deepEqual(counts, [10_000, 10_000, 10_000, 10_000]);
    assert.equal(hub.stats().dropped, 0);
  });
});

describe('where a hub listens', () => {
  test('a taken port is ERR_LISTEN: ready() rejects, the hub is closed', async (t) => {
    const server = createServer();
    await once(server.listen(0, '127.0.0.1'), 'listening');
    t.after(() => server.close());
    const hub = createWebSocketServerEventTarget({ listen: { port: server.address().port } });
    hub.addEventListener('error', () => {});
    assert.equal(hub.address, null);
    const closing = next(hub, 'close');
    await assert.rejects(within(hub.ready(), 'a rejection'), { code: 'ERR_LISTEN' });
    assert.equal((await hub.closed).error.code, 'ERR_LISTEN');
    assert.equal((await closing).error.code, 'ERR_LISTEN');
    assert.equal(hub.state, 'closed');
    assert.equal(hub.address, null);
    await assert.rejects(hub.ready(), { code: 'ERR_CLOSED' });
    await hub.close();
  });

  for (const host of ['192.0.2.1', 'no-such-host.invalid']) {
    test(`a host that is not this machine, ${host}, is ERR_LISTEN`, async () => {
      const hub = createWebSocketServerEventTarget({ listen: { port: 0, host }, anyone: true });
      hub.addEventListener('error', () => {});
      await assert.rejects(within(hub.ready(), 'a rejection', 30_000), { code: 'ERR_LISTEN' });
    });
  }

  test('anything but loopback without anyone: true is ERR_NO_AUTHORIZE, and with it is served', async (t) => {
    const addresses = Object.values(networkInterfaces()).flat();
    const own = addresses.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
    for (const host of ['0.0.0.0', '::', ...(own === undefined ? [] : [own])]) {
      const hub = createWebSocketServerEventTarget({ listen: { port: 0, host } });
      hub.addEventListener('error', () => {});
      await assert.rejects(within(hub.ready(), 'a rejection'), { code: 'ERR_NO_AUTHORIZE' }, host);
    }
    const hub = await makeHub(t, { listen: { port: 0, host: '0.0.0.0' }, anyone: true });
    const bare = await BareClient.to(t, `ws://127.0.0.1:${hub.address.port}`);
    await bare.subscribe(hub, 'p:1');
  });

  test('loopback by name and by IPv6 needs nothing', async (t) => {
    for (const host of ['localhost', '::1']) {
      const hub = createWebSocketServerEventTarget({ listen: { port: 0, host } });
      t.after(() => hub.close());
      hub.addEventListener('error', () => {});
      const isBound = await hub.ready().then(
        () => true,
        ({ code }) => code,
      );
      if (host === '::1' && isBound === 'ERR_LISTEN') {
        t.diagnostic('no IPv6 here');
        continue;
      }
      assert.equal(isBound, true, host);
      await BareClient.to(t, hub);
    }
  });

  test('the address is there between ready() and close(), with the port that the system gave', async (t) => {
    const hub = createWebSocketServerEventTarget({ listen: { port: 0, path: '/events' } });
    t.after(() => hub.close());
    assert.equal(hub.address, null);
    await hub.ready();
    const { host, port, url } = hub.address;
    assert.equal(host, '127.0.0.1');
    assert.ok(port > 0);
    assert.equal(url, `ws://127.0.0.1:${port}/events`);
    await hub.close();
    assert.equal(hub.address, null);
  });

  test('with a path only that path upgrades; others get 404, and requests without upgrade 426', async (t) => {
    const hub = await makeHub(t, { listen: { port: 0, path: '/events' } });
    const base = `127.0.0.1:${hub.address.port}`;
    const statusOf = async (path) => {
      const bare = new BareClient(`ws://${base}${path}`);
      const status = new Promise((resolve) => {
        bare.ws.on('unexpected-response', (_, { statusCode }) => resolve(statusCode));
        bare.ws.on('open', () => resolve(101));
      });
      t.after(() => bare.ws.terminate());
      return within(status, 'an answer');
    };
    for (const path of ['/events', '/events?token=1', '/events?']) assert.equal(await statusOf(path), 101, path);
    for (const path of ['/', '/events/', '/events/x', '/Events', '/event', '//events', '/%65vents']) {
      assert.equal(await statusOf(path), 404, path);
    }
    const plain = (path) => new Promise((resolve) => get(`http://${base}${path}`, resolve));
    assert.equal((await plain('/events')).statusCode, 426);
    assert.equal((await plain('/other')).statusCode, 404);
    const spoke = makeSpoke(t, `ws://${base}/other`);
    spoke.addEventListener('error', () => {});
    await assert.rejects(within(spoke.ready(), 'a rejection'), { code: 'ERR_HANDSHAKE' });
    assert.equal(spoke.state, 'closed');
    await makeOpenSpoke(t, hub);
  });

  test('without a path every path upgrades', async (t) => {
    const hub = await makeHub(t);
    for (const path of ['', 'x', 'x/y?z=1']) await BareClient.to(t, hub.address.url + path);
  });
});

describe('tls', () => {
  let pem;
  before(async () => {
    const { cert, private: key } = await generate([{ name: 'commonName', value: 'localhost' }], {
      keySize: 2048,
      algorithm: 'sha256',
      extensions: [
        { name: 'basicConstraints', cA: false },
        {
          name: 'subjectAltName',
          altNames: [
            { type: 2, value: 'localhost' },
            { type: 7, ip: '127.0.0.1' },
          ],
        },
      ],
    });
    pem = { cert, key };
  });

  test('a hub with a certificate serves bare clients and spokes that trust it', async (t) => {
    const hub = await makeHub(t, { tls: pem });
    assert.match(hub.address.url, /^wss:/);
    const heard = listenTo(hub, 'p:1');
    const bare = await BareClient.to(t, hub, { ca: pem.cert });
    await bare.subscribe(hub, 'q:1');
    const spoke = await makeOpenSpoke(t, hub, { tls: { ca: pem.cert } });
    const large = 'x'.repeat(200_000);
    bare.publish('p', '1', large);
    spoke.dispatchEvent(createEvent('p', '1', large));
    await heard.reaches(2);
    for (let n = 0; n < 20; n++) hub.dispatchEvent(createEvent('q', '1', { n, large }));
    await bare.frames.reaches(20);
    assert.deepEqual(
      bare.envelopes.map(({ payload }) => payload.n),
      Array.from({ length: 20 }, (_, n) => n),
    );
    const gone = next(hub, 'disconnection');
    bare.ws.close(4000, 'bye');
    assert.deepEqual([(await gone).code, (await within(bare.closed, 'the close')).code], [4000, 4000]);
  });

  test('certificate and key may be text, bytes or files', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'tls-'));
    t.after(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'cert.pem'), pem.cert);
    writeFileSync(join(folder, 'key.pem'), pem.key);
    const asFile = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
    const asBytes = { cert: Buffer.from(pem.cert), key: new TextEncoder().encode(pem.key) };
    for (const [tls, ca] of [
      [asFile, asBytes.cert],
      [asBytes, asFile.cert],
    ]) {
      const hub = await makeHub(t, { tls });
      await makeOpenSpoke(t, hub, { tls: { ca } });
    }
  });

  test('a spoke that does not trust the certificate is over, unless it says insecure', async (t) => {
    const hub = await makeHub(t, { tls: pem });
    const distrusting = makeSpoke(t, hub);
    distrusting.addEventListener('error', () => {});
    await assert.rejects(within(distrusting.ready(), 'a rejection'), { code: 'ERR_TLS' });
    assert.equal((await distrusting.closed).error.code, 'ERR_TLS');
    await makeOpenSpoke(t, hub, { tls: { insecure: true } });
    const misled = makeSpoke(t, hub, { tls: { ca: pem.cert, serverName: 'elsewhere.example' } });
    misled.addEventListener('error', () => {});
    await assert.rejects(within(misled.ready(), 'a rejection'), { code: 'ERR_TLS' });
  });

  test('a client that speaks plainly to a TLS hub harms nobody', async (t) => {
    const hub = await makeHub(t, { tls: pem });
    hub.addEventListener('error', () => {});
    const bare = new BareClient(hub.address.url.replace('wss:', 'ws:'));
    await within(bare.closed, 'the end of the plain client');
    await makeOpenSpoke(t, hub, { tls: { ca: pem.cert } });
  });

  test('with requestCert only clients with a certificate of the authority are served', async (t) => {
    const hub = await makeHub(t, { tls: { ...pem, ca: pem.cert, requestCert: true } });
    hub.addEventListener('error', () => {});
    const without = new BareClient(hub.address.url, { ca: pem.cert });
    await within(without.closed, 'the refusal');
    assert.equal(hub.stats().accepted, 0);
    await BareClient.to(t, hub, { ca: pem.cert, cert: pem.cert, key: pem.key });
    await makeOpenSpoke(t, hub, { tls: { ca: pem.cert, ...pem } });
  });

  test('what is no certificate is refused at once or as a rejection', async () => {
    assert.throws(() => createWebSocketServerEventTarget({ listen: { port: 0 }, tls: { cert: pem.cert } }), {
      code: 'ERR_INVALID_OPTION',
    });
    assert.throws(
      () => createWebSocketServerEventTarget({ listen: { port: 0 }, tls: { cert: '/no/such', key: pem.key } }),
      {
        code: 'ERR_INVALID_OPTION',
      },
    );
    const swapped = createWebSocketServerEventTarget({ listen: { port: 0 }, tls: { cert: pem.key, key: pem.cert } });
    swapped.addEventListener('error', () => {});
    await assert.rejects(within(swapped.ready(), 'a rejection'), ({ code }) =>
      ['ERR_TLS', 'ERR_INVALID_OPTION'].includes(code),
    );
  });
});

describe('the end of a hub', () => {
  test('close() delivers what was dispatched, then tells code and reason', async (t) => {
    const hub = await makeHub(t);
    const clients = await Promise.all(Array.from({ length: 5 }, () => BareClient.to(t, hub)));
    for (const client of clients) await client.subscribe(hub, 'p:1');
    const payload = 'x'.repeat(200);
    for (let n = 0; n < 5000; n++) hub.dispatchEvent(createEvent('p', '1', { n, payload }));
    const closing = hub.close({ code: 1012, reason: 'retryAfterMs=50' });
    assert.equal(hub.state, 'closing');
    hub.dispatchEvent(createEvent('p', '1', 'too late'));
    for (const client of clients) {
      assert.deepEqual(await within(client.closed, 'the close'), { code: 1012, reason: 'retryAfterMs=50' });
      assert.deepEqual(
        client.envelopes.map((event) => event.payload.n),
        Array.from({ length: 5000 }, (_, n) => n),
      );
    }
    await within(closing, 'close()');
    assert.deepEqual(await hub.closed, { code: 1012, reason: 'retryAfterMs=50' });
  });

  test('the default is 1000, which ends spokes for good', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    await hub.close();
    assert.deepEqual(await hub.closed, { code: 1000, reason: '' });
    const { code, error } = await within(spoke.closed, 'closed');
    assert.deepEqual([code, error], [1000, undefined]);
  });

  test('connections are seen off before the close event, which is the last', async (t) => {
    const log = new Log();
    const hub = await makeHub(t, {
      onConnection: () => {},
      onDisconnection: (_, { id }) => log.push(`onDisconnection ${id}`),
    });
    hub.addEventListener('disconnection', ({ detail }) =>
      log.push(`disconnection ${detail.connection.id} ${detail.code}`),
    );
    hub.addEventListener('close', ({ detail }) => log.push(`close ${detail.code}`));
    const bare = await BareClient.to(t, hub);
    await bare.subscribe(hub, 'p:1');
    await hub.close({ code: 1001 });
    await turn();
    assert.deepEqual(log.entries, ['disconnection 1 1001', 'onDisconnection 1', 'close 1001']);
  });

  test('a client that does not answer the close holds it no longer than timeoutMs', async (t) => {
    const hub = await makeHub(t);
    const bare = await BareClient.to(t, hub);
    await bare.subscribe(hub, 'p:1');
    bare.ws.pause();
    const began = Date.now();
    await within(hub.close({ timeoutMs: 200 }), 'close()');
    assert.ok(Date.now() - began < 3000);
  });

  test('nobody comes in after close()', async (t) => {
    const hub = await makeHub(t);
    const { url } = hub.address;
    await hub.close();
    const bare = new BareClient(url);
    const refusal = new Promise((resolve) => bare.ws.on('error', resolve));
    assert.equal((await within(refusal, 'a refusal')).code, 'ECONNREFUSED');
  });

  test('the port is free after close()', async (t) => {
    const hub = await makeHub(t);
    const { port } = hub.address;
    await makeOpenSpoke(t, hub);
    await hub.close();
    await makeHub(t, { listen: { port } });
  });

  test('close() twice is the same promise, and afterwards everything is a no-op', async (t) => {
    const hub = await makeHub(t, { onConnection: () => {} });
    const bare = await BareClient.to(t, hub);
    await bare.subscribe(hub, 'p:1');
    const closing = hub.close();
    assert.equal(hub.close({ code: 4000 }), closing);
    const ends = new Log();
    hub.addEventListener('close', ({ detail }) => ends.push(detail.code));
    await closing;
    assert.equal(hub.close(), closing);
    assert.equal(await hub[Symbol.asyncDispose](), undefined);
    assert.deepEqual(ends.entries, [1000]);

    const circle = {};
    circle.self = circle;
    assert.equal(hub.dispatchEvent(createEvent('p', '1', 1)), true);
    assert.equal(hub.dispatchEvent(createEvent('p', '1', circle)), true);
    assert.equal(hub.dispatchEvent(new Event('close')), true);
    assert.deepEqual(ends.entries, [1000]);
    hub.addEventListener('p:1', () => ends.push('never'));
    hub.addEventListener('no topic', () => {});
    hub.removeEventListener('p:1', () => {});
    await within(Promise.all([hub.flush(), hub.drain()]), 'flush and drain');
    assert.equal(hub.ref(), hub);
    assert.equal(hub.unref(), hub);
    assert.equal(hub.state, 'closed');
    assert.equal(hub.address, null);
    assert.equal(hub.bufferedAmount, 0);
    assert.equal(hub.connections.size, 0);
    assert.equal(hub.subscribers('p:1'), 0);
    assert.equal(hub.stats().connections, 0);
    assert.equal(hub.sourceOf(createEvent('p', '1', 1)), undefined);
  });

  test('close() before ready() is an orderly end', async () => {
    const hub = createWebSocketServerEventTarget({ listen: { port: 0 } });
    const ready = hub.ready();
    await within(hub.close(), 'close()');
    await ready.catch(({ code }) => assert.equal(code, 'ERR_CLOSED'));
    assert.deepEqual(await hub.closed, { code: 1000, reason: '' });
  });

  test('close() while connections come and go settles, and no connection stays', async (t) => {
    for (let round = 0; round < 20; round++) {
      const hub = await makeHub(t, { onConnection: async () => {} });
      const { url } = hub.address;
      const clients = Array.from({ length: 10 }, () => new BareClient(url));
      for (const client of clients.slice(0, round % 10)) client.ws.once('open', () => client.ws.terminate());
      if (round % 2 === 0) await eventually(() => hub.stats().accepted > 0, 'somebody is in');
      await within(hub.close(), 'close()');
      await within(Promise.all(clients.map(({ closed }) => closed)), 'every client sees the end');
      assert.equal(hub.connections.size, 0);
    }
  });
});
