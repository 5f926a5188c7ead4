// hub.addConnection and hub.removeConnection: WebSockets that somebody else has made and keeps.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createHub } from '@alkdev/pubsub-native/hub';
import { WebSocketServer } from 'ws';
import { BareClient, envelope } from '../websocket/bare-peers.mjs';
import { eventually, Log, listenTo, next, turn, within } from '../websocket/facts.mjs';
import { makeOpenSpoke } from '../websocket/targets.mjs';
import { listening } from './arrangements.mjs';

/** A hub, and a server of `ws` whose sockets and requests are given to `onConnection`. */
async function hubAndServer(
  t,
  options = {},
  onConnection = (hub, socket, request) => hub.addConnection(socket, { request }),
) {
  const hub = createHub(options);
  const http = await listening(createServer());
  const server = new WebSocketServer({ server: http, perMessageDeflate: false });
  const sockets = [];
  server.on('connection', (socket, request) => {
    sockets.push(socket);
    socket.on('error', () => {});
    onConnection(hub, socket, request);
  });
  t.after(async () => {
    await hub.close({ timeoutMs: 0 });
    for (const socket of server.clients) socket.terminate();
    http.close();
  });
  return { hub, sockets, url: `ws://127.0.0.1:${http.address().port}/here?x=1` };
}

/** A socket of the standard interface without a network: what is sent is written down. */
class FakeSocket {
  readyState = 1;
  bufferedAmount = 0;
  binaryType = 'blob';
  onmessage = null;
  onclose = null;
  onerror = null;
  sent = new Log();
  closes = [];

  send(text) {
    this.sent.push(text);
  }

  close(code, reason) {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new RangeError(`not for applications: ${code}`);
    this.closes.push([code, reason]);
  }

  say(type, id, payload) {
    this.onmessage({ data: envelope(type, id, payload) });
  }
}

async function hubAndFake(t, options = {}) {
  const hub = createHub(options);
  t.after(() => hub.close({ timeoutMs: 0 }));
  await hub.ready();
  return { hub, socket: new FakeSocket() };
}

async function subscribed(hub, socket, topic) {
  const before = hub.subscribers(topic);
  socket.say('__subscribe', '', { topic });
  await eventually(() => hub.subscribers(topic) === before + 1, `somebody subscribes to ${topic}`);
}

describe('a connection', () => {
  test('has what the request tells, and authorize is asked about it', async (t) => {
    const authorize = {
      connect: ({ headers, url }) => url === '/here?x=1' && { identity: headers.who, publish: ['*'] },
    };
    const { hub, url } = await hubAndServer(t, { authorize });
    await makeOpenSpoke(t, url, { headers: { who: 'ann' }, peer: 'native', protocols: ['a', 'b'] });
    const [connection] = hub.connections;
    assert.deepEqual(
      [connection.identity, connection.url, connection.transport, connection.protocols],
      ['app:ann', '/here?x=1', 'websocket', ['a', 'b']],
    );
    assert.match(connection.remoteAddress, /^127\.0\.0\.1:\d+$/);
  });

  for (const [answer, code] of [
    [false, 4403],
    [undefined, 4401],
    ['nonsense', 1011],
  ]) {
    test(`that authorize answers ${answer} to is closed with ${code}`, async (t) => {
      const { hub, url } = await hubAndServer(t, { authorize: { connect: () => answer } });
      hub.addEventListener('error', () => {});
      const client = new BareClient(url);
      assert.equal((await within(client.closed, 'the close')).code, code);
      assert.equal(hub.stats().accepted, 0);
    });
  }

  test('one too many is closed with 1013', async (t) => {
    const { hub, url } = await hubAndServer(t, { limits: { maxConnections: 1 } });
    await makeOpenSpoke(t, url, { peer: 'native' });
    assert.equal((await within(new BareClient(url).closed, 'the close')).code, 1013);
    assert.equal(hub.stats().accepted, 1);
  });

  test('obeys the limits: too large 1009, malformed counted, too slow 1013', async (t) => {
    const { hub, sockets, url } = await hubAndServer(t, {
      limits: { maxMessageBytes: 1000 },
      maxBufferedAmount: 4096,
      stallMs: 0,
    });
    hub.addEventListener('error', () => {});
    const large = new BareClient(url);
    await once(large.ws, 'open');
    large.say('x'.repeat(1001));
    assert.equal((await within(large.closed, 'the close')).code, 1009);

    const odd = await BareClient.to(t, url);
    odd.say('no envelope');
    odd.ws.send(Buffer.from([0xff, 0xfe]));
    await eventually(() => hub.stats().malformed === 2, 'both are counted');
    odd.ws.send(Buffer.from(envelope('__subscribe', '', { topic: 'x:' })));
    await eventually(() => hub.subscribers('x:') === 1, 'a binary message with an envelope is one');

    // The client stops reading: `ws` gathers what its socket does not take, and the hub counts that.
    odd.ws.pause();
    const gone = next(hub, 'disconnection');
    let largest = 0;
    for (let sent = 0; hub.stats().slowConsumers === 0; sent++) {
      for (let i = 0; i < 100; i++) hub.dispatchEvent(createEvent('x', '', 'x'.repeat(900)));
      await hub.drain();
      await turn();
      largest = Math.max(largest, sockets.at(-1).bufferedAmount);
      assert(sent < 5000, 'sockets hold only so much');
    }
    assert(largest < 1 << 20, `${largest} bytes waited in the library`);
    odd.ws.resume();
    assert.equal((await gone).code, 1013);
    assert.equal((await within(odd.closed, 'the close')).code, 1013);
  });

  test('that says goodbye has left with its code; one that vanishes has not', async (t) => {
    const { hub, url } = await hubAndServer(t);
    const log = new Log();
    hub.addEventListener('disconnection', ({ detail: { code, clean } }) => log.push([code, clean]));
    const polite = await BareClient.to(t, url);
    polite.ws.close(4000);
    await log.reaches(1);
    (await BareClient.to(t, url)).ws.terminate();
    await log.reaches(2);
    assert.deepEqual(log.entries, [
      [4000, true],
      [1006, false],
    ]);
  });

  test('connection.close() closes its socket', async (t) => {
    const { hub, url } = await hubAndServer(t);
    const client = await BareClient.to(t, url);
    const connection = await eventually(() => [...hub.connections][0], 'the connection');
    connection.close(4321, 'enough');
    assert.deepEqual(await within(client.closed, 'the close'), { code: 4321, reason: 'enough' });
  });

  test('sixteen events of a turn to many sockets go out in order, corked where the library can', async (t) => {
    const { hub, sockets, url } = await hubAndServer(t);
    const clients = [];
    for (let i = 0; i < 10; i++) clients.push(await BareClient.to(t, url));
    for (const client of clients) await client.subscribe(hub, 'x:');
    let corks = 0;
    for (const { _socket: inner } of sockets) {
      const cork = inner.cork.bind(inner);
      inner.cork = () => {
        corks++;
        cork();
      };
    }
    for (let n = 0; n < 1600; n++) {
      hub.dispatchEvent(createEvent('x', '', n));
      if (n % 16 === 15) await turn();
    }
    hub.dispatchEvent(createEvent('x', '', 'žluť 😀'));
    for (const client of clients) {
      await client.frames.reaches(1601);
      const payloads = client.envelopes.map(({ payload }) => payload);
      assert.deepEqual(payloads, [...Array.from({ length: 1600 }, (_, n) => n), 'žluť 😀']);
    }
    assert(corks >= 10, `${corks} times corked`);
  });
});

describe('a socket', () => {
  test('gets its handlers back when it is removed, is not closed, and twice is a no-op', async (t) => {
    const { hub, socket } = await hubAndFake(t);
    const mine = () => {};
    Object.assign(socket, { onmessage: mine, onclose: mine });
    const gone = next(hub, 'disconnection');
    const feed = hub.addConnection(socket);
    assert.equal(hub.addConnection(socket), feed);
    assert.notEqual(socket.onmessage, mine);
    assert.equal(socket.binaryType, 'arraybuffer');
    await next(hub, 'connection');
    assert.equal(hub.stats().accepted, 1);
    hub.removeConnection(socket);
    hub.removeConnection(socket);
    hub.removeConnection(new FakeSocket());
    assert.deepEqual([socket.onmessage, socket.onclose, socket.onerror, socket.binaryType], [mine, mine, null, 'blob']);
    const { code, clean } = await gone;
    assert.deepEqual([code, clean, socket.closes], [1000, true, []]);
    hub.addConnection(socket);
    await next(hub, 'connection');
  });

  test('passes a close and an error on to the handlers that were there', async (t) => {
    const { hub, socket } = await hubAndFake(t);
    const heard = [];
    socket.onclose = ({ code }) => heard.push(code);
    socket.onerror = () => heard.push('error');
    const kept = socket.onclose;
    hub.addConnection(socket);
    await next(hub, 'connection');
    socket.onerror({});
    const gone = next(hub, 'disconnection');
    socket.onclose({ code: 1001, reason: 'bye' });
    assert.deepEqual(heard, ['error', 1001]);
    assert.equal(socket.onclose, kept);
    const { code, reason } = await gone;
    assert.deepEqual([code, reason], [1001, 'bye']);
  });

  test('is left open when the hub closes, after what was dispatched', async (t) => {
    const { hub, socket } = await hubAndFake(t);
    hub.addConnection(socket);
    await next(hub, 'connection');
    await subscribed(hub, socket, 'x:');
    hub.dispatchEvent(createEvent('x', '', 1));
    await hub.close();
    assert.deepEqual(socket.sent.entries, [envelope('x', '', 1)]);
    assert.deepEqual([socket.closes, socket.onmessage], [[], null]);
    hub.addConnection(socket).message(envelope('x', '', 1));
    assert.equal(socket.onmessage, null, 'a closed hub takes nothing');
  });

  test('that closes with codes of applications alone is closed with 3000 more', async (t) => {
    const { hub, socket } = await hubAndFake(t, { limits: { maxMessageBytes: 100 } });
    hub.addEventListener('error', () => {});
    hub.addConnection(socket);
    const gone = next(hub, 'disconnection');
    socket.onmessage({ data: 'x'.repeat(101) });
    assert.equal((await gone).code, 1009);
    await eventually(() => socket.closes.length > 0, 'the close');
    assert.equal(socket.closes[0][0], 4009);
  });

  test('that still connects comes in when it is open', async (t) => {
    const { hub, socket } = await hubAndFake(t);
    socket.readyState = 0;
    const heard = [];
    socket.onopen = () => heard.push('open');
    hub.addConnection(socket);
    await turn();
    assert.equal(hub.stats().accepted, 0);
    socket.readyState = 1;
    const came = next(hub, 'connection');
    socket.onopen({});
    await came;
    assert.deepEqual(heard, ['open']);
  });

  test('that does not send is given no more than the hub may have on its way', async (t) => {
    const { hub, socket } = await hubAndFake(t, { maxBufferedAmount: 10_000_000 });
    socket.bufferedAmount = Number.MAX_SAFE_INTEGER;
    hub.addConnection(socket);
    await next(hub, 'connection');
    await subscribed(hub, socket, 'x:');
    const payload = 'x'.repeat(10_000);
    for (let i = 0; i < 100; i++) hub.dispatchEvent(createEvent('x', '', payload));
    const [connection] = hub.connections;
    await eventually(() => connection.bufferedAmount > 500_000, 'the rest waits in the hub');
    assert(socket.sent.length <= 40, `${socket.sent.length} were given`);
    socket.bufferedAmount = 0;
    await socket.sent.reaches(100);
  });

  test('that cannot be paused is closed when it sends more than the hub can hold', async (t) => {
    const { hub, socket } = await hubAndFake(t, { onConnection: () => new Promise(() => {}) });
    hub.addConnection(socket);
    const text = envelope('x', '', 'x'.repeat(100_000));
    for (let i = 0; i < 200 && socket.closes.length === 0; i++) socket.onmessage({ data: text });
    assert.equal(socket.closes[0][0], 4008);
    await eventually(() => socket.onmessage === null, 'it has its handlers back');
    const pausing = new FakeSocket();
    const calls = [];
    pausing.pause = () => calls.push('pause');
    hub.addConnection(pausing);
    for (let i = 0; i < 5 && calls.length === 0; i++) pausing.onmessage({ data: text });
    assert.deepEqual(calls, ['pause']);
  });

  test('without handlers of its own is fed by hand', async (t) => {
    const { hub } = await hubAndFake(t, { relay: true });
    const sent = new Log();
    const socket = { send: (text) => sent.push(text), close: () => {} };
    const came = next(hub, 'connection');
    const feed = hub.addConnection({ raw: socket, send() {}, close() {} });
    assert.equal(hub.addConnection(socket), feed, 'what is wrapped is the same socket');
    await came;
    const heard = listenTo(hub, 'a:1');
    feed.message(envelope('a', '1', 1));
    feed.message(Buffer.from(envelope('a', '1', 2)));
    await heard.reaches(2);
    feed.message(envelope('__subscribe', '', { topic: 'b:1' }));
    await eventually(() => hub.subscribers('b:1') === 1, 'it subscribes');
    hub.dispatchEvent(createEvent('b', '1', 3));
    await sent.reaches(1);
    const gone = next(hub, 'disconnection');
    feed.close(1001, 'bye');
    assert.equal((await gone).code, 1001);
  });

  test('that is none is refused', async (t) => {
    const { hub, socket } = await hubAndFake(t);
    assert.throws(() => hub.addConnection({}), { code: 'ERR_INVALID_OPTION', message: /send\(\) and close\(\)/ });
    assert.throws(() => hub.addConnection(socket, { headers: {} }), { code: 'ERR_INVALID_OPTION' });
    socket.readyState = 3;
    hub.addConnection(socket);
    assert.equal(socket.onmessage, null);
  });
});
