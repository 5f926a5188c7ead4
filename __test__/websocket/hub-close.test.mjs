// How a hub ends: what is still delivered, who is told, and what is left.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { BareClient } from './bare-peers.mjs';
import { eventually, Log, turn, within } from './facts.mjs';
import { makeHub, makeOpenSpoke } from './targets.mjs';

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
