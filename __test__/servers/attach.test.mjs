// hub.attach and hub.handleUpgrade on Node's own servers: who gets in, what happens to early bytes, resets, descriptors, and other libraries
// at the same server. Everything runs with adopted descriptors and with pumped bytes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createHub } from '@alkdev/pubsub-native/hub';
import { WebSocketServer } from 'ws';
import { BareClient, envelope, handshakeBytes, textFrame } from '../websocket/bare-peers.mjs';
import { eventually, Log, listenTo, next, turn, within } from '../websocket/facts.mjs';
import { makeOpenSpoke } from '../websocket/targets.mjs';
import { listening } from './arrangements.mjs';
import { pem } from './certificate.mjs';

/** A hub at a server of its own, closed with the test. */
async function attachedHub(t, { adopt = true, path = '/events', ...options } = {}, ...where) {
  const hub = createHub(options);
  const server = createServer((_, response) => response.writeHead(404).end('not here'));
  t.after(async () => {
    await hub.close({ timeoutMs: 0 });
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  await listening(server, ...where);
  await within(hub.ready(), 'a hub without listen is open');
  const attachment = hub.attach(server, { path, adopt });
  const { port } = server.address();
  return { hub, server, attachment, port, url: `ws://127.0.0.1:${port}${path}` };
}

/** A socket of nobody, and what it reads, as text. */
async function dial(t, where) {
  const socket = connect(where);
  t.after(() => socket.destroy());
  const bytes = [];
  socket.on('error', () => {}).on('data', (chunk) => bytes.push(chunk));
  await within(once(socket, 'connect'), 'a socket');
  return { socket, text: () => Buffer.concat(bytes).toString('latin1'), closed: once(socket, 'close') };
}

/** The status line that a request with these further header lines gets. */
async function statusOf(t, port, { path = '/events', ...headers } = {}) {
  const { socket, text } = await dial(t, { port, host: '127.0.0.1' });
  let request = handshakeBytes(port, path).toString();
  for (const [name, value] of Object.entries(headers)) {
    const without = request.replace(new RegExp(`^${name}: .*\r\n`, 'im'), '');
    request = without.replace('\r\n\r\n', `\r\n${name}: ${value}\r\n\r\n`);
  }
  socket.write(request);
  await eventually(() => text().includes('\r\n\r\n'), 'an answer');
  return Number(text().split(' ')[1]);
}

for (const adopt of [true, false]) {
  describe(adopt ? 'with the descriptor taken over' : 'with bytes pumped', () => {
    test('events go both ways, and the hub knows where a connection comes from', async (t) => {
      const { hub, url } = await attachedHub(t, { adopt });
      const heard = listenTo(hub, 'a:1');
      const spoke = await makeOpenSpoke(t, `${url}?x=1`);
      const atSpoke = listenTo(spoke, 'b:1');
      await spoke.ready('b:1');
      spoke.dispatchEvent(createEvent('a', '1', 'ž'.repeat(300_000)));
      await heard.reaches(1);
      hub.dispatchEvent(createEvent('b', '1', 2));
      await atSpoke.reaches(1);
      const [connection] = hub.connections;
      assert.equal(connection.transport, 'websocket');
      assert.equal(connection.url, '/events?x=1');
      assert.match(connection.remoteAddress, /^127\.0\.0\.1:\d+$/);
    });

    test('who may come in is asked as at a listener of the hub', async (t) => {
      const asked = new Log();
      const answers = { yes: true, no: false, 'who?': undefined };
      const authorize = {
        connect: ({ headers, url, remoteAddress }) => {
          asked.push([url, remoteAddress.split(':')[0]]);
          if (headers.who === 'broken') throw new Error('out of order');
          return answers[headers.who];
        },
      };
      const { hub, port } = await attachedHub(t, { adopt, authorize });
      hub.addEventListener('error', () => {});
      const statuses = {};
      for (const who of ['yes', 'no', 'who?', 'broken']) statuses[who] = await statusOf(t, port, { who });
      assert.deepEqual(statuses, { yes: 101, no: 403, 'who?': 401, broken: 503 });
      assert.deepEqual(asked.entries[0], ['/events', '127.0.0.1']);
    });

    test('pages of foreign origins and of foreign names for loopback are refused, others are not', async (t) => {
      const websocket = { allowedOrigins: ['https://good.example'], allowedHosts: ['dev.example'] };
      const { port } = await attachedHub(t, { adopt, websocket });
      const status = (origin, host = `127.0.0.1:${port}`) => statusOf(t, port, { Origin: origin, Host: host });
      assert.equal(await status('http://evil.example'), 403);
      assert.equal(await status(`http://127.0.0.1:${port}`), 101);
      assert.equal(await status('http://rebound.example', 'rebound.example'), 403);
      assert.equal(await status('http://dev.example', 'dev.example'), 101);
      assert.equal(await status('https://good.example'), 101);
    });

    test('what is no handshake is refused, and so is a head with too many lines', async (t) => {
      const { port } = await attachedHub(t, { adopt });
      assert.equal(await statusOf(t, port, { 'Sec-WebSocket-Version': '12' }), 400);
      const many = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`x-${i}`, 'y']));
      assert.equal(await statusOf(t, port, many), 431);
    });

    test('a hub that is full says so', async (t) => {
      const { hub, port, url } = await attachedHub(t, { adopt, limits: { maxConnections: 1 } });
      await makeOpenSpoke(t, url);
      assert.equal(await statusOf(t, port), 503);
      assert.equal(hub.stats().connections, 1);
    });

    test('a client that leaves is noticed, and one that only ends its side too', async (t) => {
      const { hub, url, port } = await attachedHub(t, { adopt });
      const log = new Log();
      hub.addEventListener('disconnection', ({ detail }) => log.push(detail.clean));
      const spoke = await makeOpenSpoke(t, url);
      await spoke.close();
      await log.reaches(1);
      const { socket, text } = await dial(t, { port, host: '127.0.0.1', allowHalfOpen: true });
      socket.write(handshakeBytes(port, '/events'));
      await eventually(() => text().includes('101'), 'the upgrade');
      socket.end();
      await log.reaches(2);
      assert.deepEqual(log.entries, [true, false]);
    });

    test('500 messages and half a message in the segment of the request arrive in order, across an awaited authorize', async (t) => {
      let decide;
      const decision = new Promise((resolve) => (decide = resolve));
      const asked = new Log();
      const connect = () => {
        asked.push(1);
        return decision;
      };
      const { hub, port } = await attachedHub(t, { adopt, authorize: { connect } });
      const heard = listenTo(hub, 'n:');
      const frames = Array.from({ length: 1000 }, (_, n) => textFrame(envelope('n', '', n)));
      const { socket } = await dial(t, { port, host: '127.0.0.1' });
      const cut = frames[500].subarray(0, 9);
      socket.write(Buffer.concat([handshakeBytes(port, '/events'), ...frames.slice(0, 500), cut]));
      await asked.reaches(1);
      socket.write(Buffer.concat([frames[500].subarray(9), ...frames.slice(501)]));
      await turn();
      assert.equal(heard.length, 0, 'nothing is heard of somebody who is not in');
      decide(true);
      const envelopes = await heard.reaches(1000);
      assert.deepEqual(
        envelopes.map(({ payload }) => payload),
        Array.from({ length: 1000 }, (_, n) => n),
      );
    });

    test('resets before and behind the upgrade leave the server up', async (t) => {
      const { hub, port, url } = await attachedHub(t, { adopt });
      for (let i = 0; i < 50; i++) {
        const { socket, text } = await dial(t, { port, host: '127.0.0.1' });
        socket.write(handshakeBytes(port, '/events'));
        if (i % 2 === 1) await eventually(() => text().includes('101'), 'the upgrade');
        socket.resetAndDestroy();
      }
      await makeOpenSpoke(t, url);
      await eventually(() => hub.stats().connections === 1, 'only the last one is there');
    });

    test('a reader that does not read is cut with 1013 and the others get everything', async (t) => {
      const { hub, port, url } = await attachedHub(t, { adopt, maxBufferedAmount: 65_536, stallMs: 20 });
      const { socket, text } = await dial(t, { port, host: '127.0.0.1' });
      socket.write(
        Buffer.concat([handshakeBytes(port, '/events'), textFrame(envelope('__subscribe', '', { topic: 'x:' }))]),
      );
      await eventually(() => text().includes('101') && hub.subscribers('x:') === 1, 'the slow one is subscribed');
      socket.pause();
      const spoke = await makeOpenSpoke(t, url);
      const heard = listenTo(spoke, 'x:');
      await spoke.ready('x:');
      const gone = next(hub, 'disconnection');
      const payload = 'x'.repeat(60_000);
      let sent = 0;
      while (hub.stats().slowConsumers === 0) {
        hub.dispatchEvent(createEvent('x', '', payload));
        sent++;
        await hub.drain();
        await turn();
        assert(sent < 5000, 'sockets hold only so much');
      }
      socket.destroy();
      assert.equal((await gone).code, 1013);
      await heard.reaches(sent);
    });

    test('server.close() is not held up by connections of the hub, and they live on', async (t) => {
      const { hub, server, url } = await attachedHub(t, { adopt });
      const spoke = await makeOpenSpoke(t, url);
      const closed = new Promise((resolve) => server.close(resolve));
      // A pumped connection is one of the server's sockets: Node waits for it.
      if (adopt) await within(closed, 'the server has closed');
      const heard = listenTo(hub, 'a:1');
      spoke.dispatchEvent(createEvent('a', '1', 1));
      await heard.reaches(1);
      await hub.close();
      await within(closed, 'the server has closed');
    });

    test('on a socket of the file system it works as well', { skip: process.platform === 'win32' }, async (t) => {
      const path = join(tmpdir(), `hub-${process.pid}-${adopt}.sock`);
      const { hub } = await attachedHub(t, { adopt }, path);
      const client = new BareClient(`ws+unix://${path}:/events`);
      t.after(() => client.ws.terminate());
      await within(once(client.ws, 'open'), 'open');
      const heard = listenTo(hub, 'a:1');
      client.publish('a', '1', 1);
      await heard.reaches(1);
      assert.equal([...hub.connections][0].remoteAddress, undefined);
    });

    test('other paths belong to others: `ws` at the same server, in either order', async (t) => {
      for (const isFirst of [true, false]) {
        const hub = createHub({});
        const server = await listening(createServer());
        t.after(() => hub.close({ timeoutMs: 0 }).then(() => server.close()));
        if (isFirst) hub.attach(server, { path: '/events', adopt });
        const other = new WebSocketServer({ server, path: '/chat', perMessageDeflate: false });
        if (!isFirst) hub.attach(server, { path: '/events', adopt });
        t.after(() => other.close());
        other.on('connection', (socket) => socket.on('message', (data) => socket.send(`echo ${data}`)));
        const { port } = server.address();
        const chat = await BareClient.to(t, `ws://127.0.0.1:${port}/chat`);
        // `ws` answers 400 to what is not its path; by then the connection is ours.
        const spoke = await makeOpenSpoke(t, `ws://127.0.0.1:${port}/events`);
        chat.say('hello');
        await chat.frames.has((frame) => frame === 'echo hello');
        const heard = listenTo(hub, 'a:1');
        for (let n = 0; n < 100; n++) spoke.dispatchEvent(createEvent('a', '1', n));
        await heard.reaches(100);
        chat.ws.terminate();
      }
    });
  });
}

describe('at one server', () => {
  test('plain requests are the server’s, and upgrades of other paths are left to whoever comes', async (t) => {
    const { server, port } = await attachedHub(t);
    const response = await fetch(`http://127.0.0.1:${port}/events`);
    assert.deepEqual([response.status, await response.text()], [404, 'not here']);
    const seen = new Log();
    server.on('upgrade', ({ url }, socket) => {
      seen.push(url);
      if (url === '/other') socket.end('HTTP/1.1 418 I am another\r\n\r\n');
    });
    assert.equal(await statusOf(t, port, { path: '/other' }), 418);
    assert.deepEqual(seen.entries, ['/other']);
  });

  test('two hubs have a path each; detached, a hub takes no more and keeps what it has', async (t) => {
    const { hub, server, attachment, port, url } = await attachedHub(t);
    const second = createHub({});
    t.after(() => second.close({ timeoutMs: 0 }));
    second.attach(server, { path: '/second' });
    const spoke = await makeOpenSpoke(t, url);
    await makeOpenSpoke(t, `ws://127.0.0.1:${port}/second`);
    attachment.detach();
    attachment[Symbol.dispose]();
    second.attach(server, { path: '/events' });
    await makeOpenSpoke(t, url);
    assert.deepEqual([hub.stats().connections, second.stats().connections], [1, 2]);
    const heard = listenTo(hub, 'a:1');
    spoke.dispatchEvent(createEvent('a', '1', 1));
    await heard.reaches(1);
  });

  test('a hub that has closed is at no server any more, and answers 503 to what it is handed', async (t) => {
    const { hub, server, port } = await attachedHub(t);
    await hub.close();
    assert.equal(server.listenerCount('upgrade'), 0);
    server.on('upgrade', (request, socket, head) => hub.handleUpgrade(request, socket, head));
    assert.equal(await statusOf(t, port), 503);
  });

  test('handleUpgrade takes what an application decides to hand over', async (t) => {
    const hub = createHub({});
    t.after(() => hub.close({ timeoutMs: 0 }));
    const server = await listening(createServer());
    t.after(() => server.close());
    server.on('upgrade', async (request, socket, head) => {
      socket.on('error', () => {});
      await turn();
      hub.handleUpgrade(request, socket, head);
    });
    await makeOpenSpoke(t, `ws://127.0.0.1:${server.address().port}/anything`);
  });

  test('a socket that was reset between the upgrade and its hand-over harms nobody', async (t) => {
    const hub = createHub({});
    t.after(() => hub.close({ timeoutMs: 0 }));
    const server = await listening(createServer());
    t.after(() => server.close());
    const { port } = server.address();
    for (const waits of [true, false]) {
      const upgrade = once(server, 'upgrade');
      const client = await dial(t, { port, host: '127.0.0.1' });
      client.socket.write(handshakeBytes(port));
      const [request, socket, head] = await within(upgrade, 'the upgrade');
      const gone = new Promise((resolve) => socket.on('error', resolve).on('close', resolve));
      client.socket.resetAndDestroy();
      await client.closed;
      // Either the server's socket knows of the reset already, or the engine is the first to hear of it.
      if (waits) await within(Promise.race([gone, once(socket.resume(), 'close')]), 'the reset is known');
      hub.handleUpgrade(request, socket, head);
    }
    server.on('upgrade', (request, socket, head) => hub.handleUpgrade(request, socket, head));
    await makeOpenSpoke(t, `ws://127.0.0.1:${port}/`);
    await eventually(() => hub.stats().connections === 1, 'only the last one is there');
  });

  test('a server that others can reach needs authorize or anyone: true; until then it is refused and told once', async (t) => {
    const reachable = (options) => attachedHub(t, options, 0, '0.0.0.0');
    const other = await ownAddress();
    if (other === undefined) return t.skip('this machine has no address but loopback');
    const { hub, port } = await reachable({});
    const errors = new Log();
    hub.addEventListener('error', ({ detail }) => errors.push(detail.code));
    const status = async (host, at) => {
      const { socket, text } = await dial(t, { port: at, host });
      socket.write(handshakeBytes(at, '/events'));
      await eventually(() => text().includes('\r\n\r\n'), 'an answer');
      return Number(text().split(' ')[1]);
    };
    assert.equal(await status('127.0.0.1', port), 101);
    assert.equal(await status(other, port), 403);
    assert.equal(await status(other, port), 403);
    await errors.reaches(1);
    await turn();
    assert.deepEqual(errors.entries, ['ERR_NO_AUTHORIZE']);
    const open = await reachable({ websocket: { anyone: true } });
    assert.equal(await status(other, open.port), 101);
    const guarded = await reachable({ authorize: { connect: () => true } });
    assert.equal(await status(other, guarded.port), 101);
  });

  test('a thousand upgrades leave no descriptor behind', { skip: process.platform !== 'linux' }, async (t) => {
    const { hub, port } = await attachedHub(t);
    const open = () => readdirSync('/proc/self/fd').length;
    const cycle = async () => {
      const { socket, text, closed } = await dial(t, { port, host: '127.0.0.1' });
      socket.write(handshakeBytes(port, '/events'));
      await eventually(() => text().includes('101'), 'the upgrade');
      socket.destroy();
      await closed;
    };
    await cycle();
    await eventually(() => hub.stats().connections === 0, 'all are gone');
    const before = open();
    for (let i = 0; i < 50; i++) await Promise.all(Array.from({ length: 20 }, cycle));
    await eventually(() => hub.stats().connections === 0, 'all are gone');
    assert.equal(hub.stats().accepted, 1001);
    await eventually(() => open() <= before, `no more descriptors than the ${before} before`);
  });

  test('over https a client certificate that the server has checked is the identity', async (t) => {
    const seen = new Log();
    const connect = ({ identity }) => {
      seen.push(identity);
      return true;
    };
    const hub = createHub({ authorize: { connect } });
    const server = createTlsServer({ ...pem, ca: pem.cert, requestCert: true, rejectUnauthorized: false });
    await listening(server);
    t.after(() => hub.close({ timeoutMs: 0 }).then(() => server.close()));
    hub.attach(server);
    const url = `wss://127.0.0.1:${server.address().port}/`;
    await makeOpenSpoke(t, url, { tls: { ca: pem.cert, cert: pem.cert, key: pem.key } });
    await makeOpenSpoke(t, url, { tls: { ca: pem.cert } });
    assert.match(seen.entries[0], /^tls:SHA256:[0-9a-f]{64}$/);
    assert.equal(seen.entries[1], undefined);
  });

  test('what cannot be attached to is said, with what to give instead', () => {
    const hub = createHub({});
    assert.throws(() => hub.attach({}), { code: 'ERR_INVALID_OPTION', message: /app\.server/ });
    assert.throws(() => hub.attach(createServer(), { path: 'events' }), { code: 'ERR_INVALID_OPTION' });
    assert.throws(() => hub.attach(createServer(), { paths: '/' }), { code: 'ERR_INVALID_OPTION' });
    assert.throws(() => createHub({ alknet: {} }), { code: 'ERR_INVALID_OPTION', message: /no "alknet"/ });
    assert.throws(() => createHub({ websocket: { tls: pem } }), { code: 'ERR_INVALID_OPTION', message: /listen/ });
    return hub.close();
  });
});

/** An address of this machine that is not loopback. */
async function ownAddress() {
  const { networkInterfaces } = await import('node:os');
  const all = Object.values(networkInterfaces()).flat();
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
}
