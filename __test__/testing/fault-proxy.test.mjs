// The fault proxy over bare sockets: what each fault does to bytes and connections, and that none of it is an error of the process.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { describe, test } from 'node:test';
import { createFaultProxy } from '@alkdev/pubsub-native/testing';
import { diceFrom } from '../../dist/dice.js';
import { randomFrom, seedFor } from '../core/random.mjs';
import { eventually, within } from '../websocket/facts.mjs';

const KIB = 1 << 10;
const MIB = 1 << 20;

/** A socket with what came over it, and how it ended. */
class End {
  text = '';
  bytes = 0;
  /** "end" for FIN, an error's code, "closed" last. */
  endings = [];

  constructor(socket) {
    this.socket = socket;
    socket.on('data', (data) => {
      this.bytes += data.length;
      if (this.text.length < 4096) this.text += data.toString('latin1');
    });
    socket.on('end', () => this.endings.push('end'));
    socket.on('error', ({ code }) => this.endings.push(code));
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.endings.push('closed');
        resolve(this.endings);
      });
    });
  }

  write(data) {
    return this.socket.write(data);
  }

  has(text) {
    return eventually(() => this.text === text, `"${text}" has come, not "${this.text}"`);
  }

  hasEnded(how) {
    return eventually(() => this.endings.includes(how), `the socket ended with ${how}, not ${this.endings}`);
  }
}

/** A server, a proxy in front of it, and `join()` for one connection through both. */
async function setUp(t, options = {}) {
  const server = createServer({ allowHalfOpen: true, noDelay: true });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const ends = [];
  let isOver = false;
  server.on('connection', (socket) => (isOver ? socket.destroy() : ends.push(new End(socket))));
  const proxy = createFaultProxy({ to: { port: server.address().port }, ...options });
  await within(proxy.ready(), 'the proxy listens');
  t.after(async () => {
    await proxy.close();
    isOver = true;
    for (const { socket } of ends) socket.destroy();
    server.close();
  });
  const join = async () => {
    const before = ends.length;
    const near = new End(connect({ port: proxy.port, host: proxy.host, allowHalfOpen: true, noDelay: true }));
    t.after(() => near.socket.destroy());
    const far = await eventually(() => ends[before], 'the connection reached the server');
    return { near, far };
  };
  return { proxy, server, ends, join };
}

/** Sends on `from` until it takes no more; how much that was. */
async function fill(from) {
  const chunk = Buffer.alloc(64 * KIB, 'x');
  let sent = 0;
  for (;;) {
    sent += chunk.length;
    if (from.write(chunk)) continue;
    const isFull = await Promise.race([
      once(from.socket, 'drain').then(() => false),
      new Promise((resolve) => setTimeout(() => resolve(true), 300)),
    ]);
    if (isFull) return sent;
    assert.ok(sent < 256 * MIB, 'the proxy takes everything and pushes nothing back');
  }
}

describe('a fault proxy', { concurrency: 4 }, () => {
  test('passes bytes on both ways, and ends one side when the other has', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    near.write('question');
    await far.has('question');
    far.write('answer');
    await near.has('answer');
    near.socket.end('.');
    await far.hasEnded('end');
    far.socket.end('!');
    await near.has('answer!');
    assert.deepEqual(await within(near.closed, 'the near end'), ['end', 'closed']);
    assert.deepEqual(await within(far.closed, 'the far end'), ['end', 'closed']);
    await eventually(() => proxy.connections === 0, 'no connection is left');
    assert.deepEqual(proxy.stats(), {
      connections: 0,
      accepted: 1,
      refused: 0,
      unreachable: 0,
      cut: 0,
      reset: 0,
      halfClosed: 0,
      bytesUp: 9,
      bytesDown: 7,
      heldUp: 0,
      heldDown: 0,
      discarded: 0,
    });
  });

  test('has the URL of its destination with its own host and port', async (t) => {
    const { proxy, server } = await setUp(t);
    assert.equal(proxy.url, `ws://127.0.0.1:${proxy.port}/`);
    const to = { host: '127.0.0.1', port: server.address().port, url: 'wss://localhost:1/path?query' };
    const second = createFaultProxy({ to, host: 'localhost' });
    t.after(() => second.close());
    await second.ready();
    assert.equal(second.url, `wss://localhost:${second.port}/path?query`);
  });

  test('cut() closes every connection, and says how many', async (t) => {
    const { proxy, join } = await setUp(t);
    const pairs = [await join(), await join(), await join()];
    assert.equal(proxy.connections, 3);
    assert.equal(proxy.cut(), 3);
    for (const { near, far } of pairs) {
      for (const end of [near, far]) {
        await end.hasEnded('end');
        // Open for writing until it ends, too: an application that writes on hears of it.
        end.socket.end();
        await within(end.closed, 'the end of the socket');
      }
    }
    await eventually(() => proxy.connections === 0, 'no connection is left');
    assert.equal(proxy.cut(), 0);
    assert.equal(proxy.stats().cut, 3);
    await join();
  });

  test('reset() ends both sides with RST', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    assert.equal(proxy.reset(), 1);
    assert.deepEqual(await within(near.closed, 'the near end'), ['ECONNRESET', 'closed']);
    assert.deepEqual(await within(far.closed, 'the far end'), ['ECONNRESET', 'closed']);
    assert.equal(proxy.stats().reset, 1);
  });

  for (const side of ['near', 'far']) {
    test(`a reset of the ${side} end becomes a reset of the other`, async (t) => {
      const { proxy, join } = await setUp(t);
      const pair = await join();
      const other = side === 'near' ? pair.far : pair.near;
      pair[side].socket.resetAndDestroy();
      await other.hasEnded('ECONNRESET');
      await eventually(() => proxy.connections === 0, 'no connection is left');
    });
  }

  test('stall() stops reading, so that the sender is pushed back; resume() loses nothing', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    assert.equal(proxy.stall('up'), 1);
    const sent = await fill(near);
    assert.equal(far.bytes, 0);
    far.write('the other direction goes on');
    await near.has('the other direction goes on');
    assert.equal(proxy.stats().heldUp, 0, 'what is not read does not wait here');
    assert.equal(proxy.resume('up'), 1);
    await eventually(() => far.bytes === sent, `all ${sent} bytes have come, not ${far.bytes}`);
  });

  test('a connection that comes while the proxy is stalled stands still as well', async (t) => {
    const { proxy, server, ends, join } = await setUp(t);
    proxy.stall();
    const { near, far } = await join();
    near.write('hello');
    far.write('there');
    const direct = new End(connect({ port: server.address().port, host: '127.0.0.1' }));
    const reached = await eventually(() => ends[1], 'a connection without the proxy');
    for (let n = 1; n <= 20; n++) {
      direct.write('a');
      await reached.has('a'.repeat(n));
    }
    direct.socket.destroy();
    assert.deepEqual([near.text, far.text], ['', ''], 'meanwhile nothing came through the proxy');
    assert.equal(proxy.resume(), 1);
    await far.has('hello');
    await near.has('there');
  });

  test('delay() passes pieces on later, in order whatever the jitter', async (t) => {
    const seed = seedFor(t);
    const { proxy, join } = await setUp(t, { seed: seed >>> 0 });
    assert.equal(proxy.seed, seed >>> 0);
    const { near, far } = await join();
    assert.equal(proxy.delay(400, { jitterMs: 100, direction: 'up' }), 1);
    const began = performance.now();
    let expected = '';
    for (let n = 0; n < 20; n++) {
      near.write(`${n},`);
      expected += `${n},`;
      await eventually(() => proxy.stats().heldUp === expected.length, 'the proxy has read it');
    }
    far.write('undelayed');
    await near.has('undelayed');
    assert.equal(far.text, '', 'nothing has come up yet');
    await far.has(expected);
    assert.ok(performance.now() - began >= 400, 'the first piece waited');
    near.write('more');
    assert.equal(proxy.delay(0), 1, 'what waits goes at once');
    await far.has(`${expected}more`);
  });

  test('delay() is bounded: beyond that the sender is pushed back', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    proxy.delay(3_600_000);
    const sent = await fill(near);
    const { heldUp } = proxy.stats();
    assert.ok(heldUp >= MIB && heldUp <= MIB + 64 * KIB, `${heldUp} bytes are held`);
    assert.equal(far.bytes, 0);
    proxy.delay(0);
    await eventually(() => far.bytes === sent, `all ${sent} bytes have come, not ${far.bytes}`);
    assert.equal(proxy.stats().heldUp, 0);
  });

  test('an orderly end waits for what was delayed before it', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    proxy.delay(50, { jitterMs: 20 });
    near.socket.end('last words');
    await far.hasEnded('end');
    assert.equal(far.text, 'last words');
  });

  test('throttle() passes so many bytes a second, and Infinity ends that', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    assert.equal(proxy.throttle(10_000, 'up'), 1);
    const began = performance.now();
    near.write(Buffer.alloc(4000, 'x'));
    await eventually(() => far.bytes === 4000, 'all bytes have come');
    const ms = performance.now() - began;
    assert.ok(ms >= 250, `4000 bytes at 10 000 a second took ${ms} ms`);
    near.write(Buffer.alloc(MIB, 'x'));
    proxy.throttle(Number.POSITIVE_INFINITY);
    await eventually(() => far.bytes === 4000 + MIB, 'the rest has come');
  });

  test('halfClose() ends one direction and leaves the other; what comes afterwards is dropped and counted', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    near.write('before');
    await far.has('before');
    assert.equal(proxy.halfClose('up'), 1);
    await far.hasEnded('end');
    near.write('behind');
    await eventually(() => proxy.stats().discarded === 6, 'what came behind it was dropped');
    far.write('still here');
    await near.has('still here');
    assert.equal(far.text, 'before');
    far.socket.end();
    near.socket.end();
    await eventually(() => proxy.connections === 0, 'no connection is left');
    assert.equal(proxy.stats().halfClosed, 1);
  });

  test('refuse() resets new connections, leaves the others, and can be taken back', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near, far } = await join();
    proxy.refuse();
    const refused = new End(connect({ port: proxy.port, host: proxy.host }));
    await refused.hasEnded('ECONNRESET');
    assert.equal(proxy.stats().refused, 1);
    near.write('still there');
    await far.has('still there');
    proxy.refuse(false);
    await join();
    assert.equal(proxy.connections, 2);
  });

  test('a destination where nobody listens resets who comes', async (t) => {
    const { proxy, server, ends, join } = await setUp(t);
    const { near } = await join();
    for (const { socket } of ends) socket.destroy();
    await within(new Promise((resolve) => server.close(resolve)), 'the server is gone');
    await near.hasEnded('end');
    const late = new End(connect({ port: proxy.port, host: proxy.host }));
    await late.hasEnded('ECONNRESET');
    assert.equal(proxy.stats().unreachable, 1);
  });

  test('whatever the ends do at whatever moment, nothing is left and nothing is thrown', async (t) => {
    const random = randomFrom(seedFor(t));
    const { proxy, server, ends } = await setUp(t);
    const faults = [
      () => proxy.cut(),
      () => proxy.reset(),
      () => proxy.stall(['up', 'down', 'both'][random(3)]),
      () => proxy.resume(),
      () => proxy.delay(random(20), { jitterMs: random(20) }),
      () => proxy.halfClose(['up', 'down'][random(2)]),
      () => proxy.refuse(random(2) === 1),
      () => proxy.throttle(1 + random(1 << 20)),
    ];
    const acts = [
      (socket) => socket.write(Buffer.alloc(random(100_000))),
      (socket) => socket.end(),
      (socket) => socket.destroy(),
      // Node 20 leaks a socket that is reset while it sends its FIN.
      (socket) => (socket.connecting || socket.writableEnded ? socket.destroy() : socket.resetAndDestroy()),
      (socket) => socket.pause(),
      (socket) => socket.resume(),
    ];
    server.on('connection', (socket) => setTimeout(() => acts[random(acts.length)](socket), random(5)));
    const sockets = [];
    for (let n = 0; n < 400; n++) {
      const socket = connect({ port: proxy.port, host: proxy.host, allowHalfOpen: random(2) === 1 });
      sockets.push(new End(socket));
      socket.write(Buffer.alloc(random(50_000)));
      if (random(3) > 0) acts[random(acts.length)](socket);
      if (random(4) === 0) faults[random(faults.length)]();
      if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve, random(4)));
    }
    proxy.refuse(false);
    proxy.resume();
    for (const { socket } of sockets) socket.destroy();
    // Some are only now being accepted.
    await eventually(() => {
      for (const { socket } of ends) socket.destroy();
      return proxy.connections === 0;
    }, 'no connection is left');
    const { accepted, heldUp, heldDown } = proxy.stats();
    t.diagnostic(`${accepted} connections passed through`);
    assert.deepEqual([heldUp, heldDown], [0, 0]);
    proxy.delay(0);
    proxy.throttle(Number.POSITIVE_INFINITY);
  });
});

describe('the life of a fault proxy', { concurrency: 4 }, () => {
  test('port and url before ready() are a mistake that says what to do', async () => {
    const proxy = createFaultProxy({ to: { port: 1 } });
    for (const name of ['port', 'url']) assert.throws(() => proxy[name], { name: 'TypeError', code: 'ERR_LISTEN' });
    await proxy.ready();
    assert.ok(proxy.port > 0);
    await proxy.close();
  });

  test('a port that is taken rejects ready() and nothing else', async (t) => {
    const { proxy } = await setUp(t);
    const second = createFaultProxy({ to: { port: 1 }, port: proxy.port });
    await assert.rejects(second.ready(), { name: 'PubSubError', code: 'ERR_LISTEN', message: /EADDRINUSE/ });
    await second.close();
  });

  test('close() ends connections, frees the port and can be called at any time, twice as well', async (t) => {
    const { proxy, join } = await setUp(t);
    const { near } = await join();
    assert.equal(proxy.close(), proxy.close());
    await proxy.close();
    await near.hasEnded('end');
    await assert.rejects(proxy.ready(), { code: 'ERR_CLOSED' });
    assert.equal(proxy.stall(), 0);
    const { port } = proxy;
    const heir = createFaultProxy({ to: { port: 1 }, port });
    await heir.ready();
    await heir[Symbol.asyncDispose]();
    const early = createFaultProxy({ to: { port: 1 }, port });
    await early.close();
    const again = createFaultProxy({ to: { port: 1 }, port });
    await again.ready();
    await again.close();
  });

  test('the same seed rolls the same delays, another one others', () => {
    const rolls = (seed) => {
      const roll = diceFrom(seed);
      return Array.from({ length: 1000 }, roll);
    };
    assert.deepEqual(rolls(7), rolls(7));
    assert.notDeepEqual(rolls(7), rolls(8));
    for (const roll of rolls(7)) assert.ok(roll >= 0 && roll < 1);
  });

  test('wrong options are refused at once', async (t) => {
    const refused = (act, message) => assert.throws(act, { name: 'TypeError', code: 'ERR_INVALID_OPTION', message });
    refused(() => createFaultProxy(), 'options must be an object, got undefined');
    refused(() => createFaultProxy({}), 'to must be an object, got undefined');
    refused(() => createFaultProxy({ to: {} }), 'to.port must be an integer from 1 to 65535, got undefined');
    refused(() => createFaultProxy({ to: { port: 0 } }), 'to.port must be an integer from 1 to 65535, got 0');
    refused(
      () => createFaultProxy({ to: { port: 1 }, ports: 1 }),
      'options has no "ports"; known are to, host, port, seed',
    );
    refused(() => createFaultProxy({ to: { port: 1, url: 'hub' } }), 'to.url must be a URL, got "hub"');
    refused(
      () => createFaultProxy({ to: { port: 1 }, port: 65_536 }),
      'port must be an integer from 0 to 65535, got 65536',
    );
    const { proxy } = await setUp(t);
    refused(() => proxy.stall('left'), 'direction must be one of "up", "down", "both", got "left"');
    refused(() => proxy.halfClose('both'), 'direction must be one of "up", "down", got "both"');
    refused(() => proxy.delay(-1), 'ms must be a non-negative integer up to 2147483647, got -1');
    refused(() => proxy.delay(1, { jitter: 1 }), 'options has no "jitter"; known are jitterMs, direction');
    refused(() => proxy.throttle(0), 'bytesPerSecond must be a positive number, got 0');
    refused(() => proxy.refuse('yes'), 'isRefusing must be a boolean, got "yes"');
  });
});
