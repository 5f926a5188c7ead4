// Where a hub listens, and what may not be bound.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, test } from 'node:test';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { BareClient } from './bare-peers.mjs';
import { next, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

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
