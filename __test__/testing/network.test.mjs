// The network inside the process that users test with: each fault as hubs and spokes tell of it, and what misuse says.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createEvent, createMemoryEventTarget, PubSubError } from '@alkdev/pubsub-native';
import { createNetwork } from '@alkdev/pubsub-native/testing';
import { eventually, Log, listenTo, next, within } from '../websocket/facts.mjs';

/** Reconnects at once: tests have no patience. */
const eager = { minDelayMs: 5, maxDelayMs: 20 };

const publish = (target, payload) => target.dispatchEvent(createEvent('t', '1', payload));
const payloadsOf = (log) => log.entries.map(({ payload }) => payload);
const upTo = (count, from = 0) => Array.from({ length: count }, (_, n) => from + n);

/** A network that is closed when the test is over. */
function makeNetwork(t, options) {
  const network = createNetwork(options);
  t.after(() => network.close());
  return network;
}

/** A spoke that is open and hears `t:1`. */
async function makeListener(network, name, hub, options = {}) {
  const spoke = network.spoke(name, hub, { reconnect: eager, ...options });
  const heard = listenTo(spoke, 't:1');
  await within(spoke.ready('t:1'), `${name} hears t:1`);
  return { spoke, heard };
}

/** What a spoke tells of its link and hears on `t:1`, as short words; attempts that follow each other are one. */
function storyOf(spoke) {
  const story = new Log();
  const tell = (word) => story.entries.at(-1) !== word && story.push(word);
  spoke.addEventListener('open', ({ detail }) => tell(`open ${detail.reconnected}`));
  spoke.addEventListener('reconnecting', () => tell('reconnecting'));
  spoke.addEventListener('gap', ({ detail }) => tell(`gap ${detail.cause}`));
  spoke.addEventListener('close', ({ detail }) => tell(`close ${detail.code}`));
  spoke.addEventListener('t:1', ({ detail }) => tell(`event ${detail.payload}`));
  return story;
}

describe('nodes', () => {
  test('a hub and its spokes exchange events, and the hub sees which node a connection comes from', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub', { relay: true });
    const atHub = listenTo(hub, 't:1');
    const a = await makeListener(network, 'a', 'hub');
    const b = await makeListener(network, 'b', hub);
    publish(a.spoke, 1);
    publish(hub, 2);
    await Promise.all([atHub.reaches(1), a.heard.reaches(1), b.heard.reaches(2)]);
    assert.deepEqual([payloadsOf(atHub), payloadsOf(a.heard)], [[1], [2]]);
    assert.deepEqual(payloadsOf(b.heard).sort(), [1, 2], 'two publishers have no common order');
    const facts = [...hub.connections].map(({ transport, url, remoteAddress, native }) => [
      transport,
      url,
      remoteAddress,
      native,
    ]);
    assert.deepEqual(facts, [
      ['memory', '/a', undefined, true],
      ['memory', '/b', undefined, true],
    ]);
    assert.deepEqual(hub.address, { host: 'hub', port: 0, url: 'memory://hub' });
  });

  test('options are those of every hub and spoke: authorize, onConnection, limits, peer', async (t) => {
    const network = makeNetwork(t);
    const asked = [];
    const log = new Log();
    const hub = network.hub('hub', {
      authorize: {
        connect: ({ url, transport }) => {
          asked.push(`${transport} ${url}`);
          return url === '/a' && { identity: 'a', subscribe: ['t:*'] };
        },
      },
      onConnection: (_, connection) => log.push(connection.identity),
    });
    const { spoke: a } = await makeListener(network, 'a', hub, { peer: 'native' });
    a.addEventListener('not:allowed', () => {});
    await assert.rejects(a.ready('not:allowed'), { code: 'ERR_FORBIDDEN' });
    const b = network.spoke('b', hub);
    assert.equal((await within(b.closed, 'b is refused')).error.code, 'ERR_FORBIDDEN');
    assert.deepEqual([log.entries, asked], [['app:a'], ['memory /a', 'memory /b']]);
  });

  test('the name of a closed hub may be used again, and its spokes come back', async (t) => {
    const network = makeNetwork(t);
    let hub = network.hub('hub');
    const { spoke } = await makeListener(network, 'a', 'hub');
    const story = storyOf(spoke);
    publish(hub, 1);
    await story.has((word) => word === 'event 1');
    await hub.close({ code: 1012 });
    hub = network.hub('hub');
    await story.has((word) => word.startsWith('gap'));
    publish(hub, 2);
    await story.has((word) => word === 'event 2');
    assert.deepEqual(story.entries, ['event 1', 'reconnecting', 'open true', 'gap connection-lost', 'event 2']);
    await spoke.close();
    assert.equal(network.spoke('a', 'hub').state, 'connecting', 'so may that of a spoke');
  });

  test('close() ends everything at once, is one promise, and makes faults no-ops', async () => {
    const network = createNetwork();
    const hub = network.hub('hub');
    const spoke = network.spoke('a', hub);
    await spoke.ready();
    network.stall('a');
    for (let n = 0; n < 100; n++) publish(hub, 'x'.repeat(10_000));
    const closing = network.close();
    assert.equal(network.close(), closing);
    assert.equal(network[Symbol.asyncDispose](), closing);
    assert.equal(await within(closing, 'closed'), undefined);
    assert.deepEqual([hub.state, spoke.state], ['closed', 'closed']);
    for (const fault of ['cut', 'heal', 'sever', 'halfOpen']) network[fault]('a', 'hub');
    network.lag(5);
    network.stall('a');
    network.resume('a');
    for (const make of [() => network.hub('other'), () => network.spoke('other', 'hub')])
      assert.throws(make, (error) => error instanceof PubSubError && error.code === 'ERR_CLOSED');
  });

  test('a worker that is terminated with a live network in it leaves the process as it was', async () => {
    const source = `
      const { createNetwork } = await import(${JSON.stringify(import.meta.resolve('@alkdev/pubsub-native/testing'))});
      const { createEvent } = await import(${JSON.stringify(import.meta.resolve('@alkdev/pubsub-native'))});
      const { parentPort } = await import('node:worker_threads');
      const network = createNetwork();
      network.lag(1, 5);
      const hub = network.hub('hub', { relay: true });
      const spokes = ['a', 'b', 'c'].map((name) => network.spoke(name, hub));
      for (const spoke of spokes) spoke.addEventListener('t:1', () => parentPort.postMessage('heard'));
      await Promise.all(spokes.map((spoke) => spoke.ready('t:1')));
      setInterval(() => spokes[0].dispatchEvent(createEvent('t', '1', 'x'.repeat(1000))), 1);
    `;
    for (let round = 0; round < 5; round++) {
      const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
      const failed = new Promise((_, reject) => worker.on('error', reject));
      const heard = new Promise((resolve) => worker.once('message', resolve));
      await within(Promise.race([heard, failed]), 'the worker is at work');
      assert.equal(await within(worker.terminate(), 'terminate()'), 1);
    }
  });
});

describe('cut, sever', () => {
  test('a spoke that was cut off comes back after heal with one gap, and the others see nothing of it', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub', { relay: true });
    const a = await makeListener(network, 'a', hub);
    const b = await makeListener(network, 'b', hub);
    const [story, storyOfB] = [storyOf(a.spoke), storyOf(b.spoke)];
    for (const n of upTo(3)) publish(hub, n);
    await a.heard.reaches(3);
    const gone = next(hub, 'disconnection');
    const lost = next(a.spoke, 'reconnecting');
    network.cut('a', 'hub');
    assert.equal((await lost).cause.code, 'ERR_CONNECTION_LOST');
    const { connection, code, clean } = await gone;
    assert.deepEqual([connection.url, code, clean], ['/a', 1006, false]);
    const { cause } = await next(a.spoke, 'reconnecting');
    assert.equal(cause.code, 'ERR_CONNECT');
    const seed = `with seed ${network.seed}: the network is cut between the two`;
    assert.ok(cause.message.endsWith(seed), cause.message);
    for (const n of upTo(3, 3)) publish(hub, n);
    await b.heard.reaches(6);
    const gap = next(a.spoke, 'gap');
    network.heal(hub, a.spoke);
    assert.deepEqual((await gap).topics, ['t:1']);
    for (const n of upTo(3, 6)) publish(hub, n);
    await b.heard.reaches(9);
    await a.heard.reaches(6);
    assert.deepEqual(story.entries, [
      ...['event 0', 'event 1', 'event 2', 'reconnecting', 'open true', 'gap connection-lost'],
      ...['event 6', 'event 7', 'event 8'],
    ]);
    assert.deepEqual(
      storyOfB.entries,
      upTo(9).map((n) => `event ${n}`),
    );
    assert.equal(hub.subscribers('t:1'), 2);
  });

  test('a spoke can be cut off before it has ever connected', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub');
    const spoke = network.spoke('a', hub, { reconnect: eager });
    network.cut(spoke, hub);
    assert.equal((await next(spoke, 'reconnecting')).cause.code, 'ERR_CONNECT');
    network.heal(spoke, hub);
    await within(spoke.ready(), 'it connects');
  });

  test('sever breaks a link once: the spoke is back at once', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub');
    const { spoke } = await makeListener(network, 'a', hub);
    const attempts = new Log();
    spoke.addEventListener('reconnecting', ({ detail }) => attempts.push(detail.cause.code));
    for (let n = 1; n <= 3; n++) {
      const gap = next(spoke, 'gap');
      network.sever(spoke, hub);
      await gap;
      assert.deepEqual(attempts.entries, Array(n).fill('ERR_CONNECTION_LOST'), 'no attempt failed');
    }
    assert.equal(hub.subscribers('t:1'), 1);
  });

  test('what was dispatched while cut off is sent after heal, in order', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub');
    const atHub = listenTo(hub, 't:1');
    const { spoke } = await makeListener(network, 'a', hub);
    const lost = next(spoke, 'reconnecting');
    network.cut('a', 'hub');
    await lost;
    for (const n of upTo(100)) publish(spoke, n);
    network.heal('a', 'hub');
    await atHub.reaches(100);
    assert.deepEqual(payloadsOf(atHub), upTo(100));
  });
});

describe('lag', () => {
  const DELAY_MS = 60;

  test('a link takes a round trip, an event one way, and everything arrives in order', async (t) => {
    const network = makeNetwork(t);
    network.lag(DELAY_MS, 20);
    const hub = network.hub('hub', { relay: true });
    const began = performance.now();
    const { heard } = await makeListener(network, 'a', hub);
    // There and back for the link, hello and its answer, the topic and its answer; hello and topic go together.
    assert.ok(performance.now() - began >= 4 * DELAY_MS - 1, `${performance.now() - began} ms`);
    const dispatched = performance.now();
    for (const n of upTo(200)) publish(hub, n);
    await heard.reaches(1);
    assert.ok(performance.now() - dispatched >= DELAY_MS - 1);
    await heard.reaches(200);
    assert.deepEqual(payloadsOf(heard), upTo(200));
  });

  test('a pair may have a lag of its own', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub');
    const [near, far] = [await makeListener(network, 'near', hub), await makeListener(network, 'far', hub)];
    network.lag(hub, 'far', 5 * DELAY_MS);
    const order = new Log();
    near.spoke.addEventListener('t:1', () => order.push('near'));
    far.spoke.addEventListener('t:1', () => order.push('far'));
    const dispatched = performance.now();
    publish(hub, 1);
    await order.reaches(2);
    assert.deepEqual(order.entries, ['near', 'far']);
    assert.ok(performance.now() - dispatched >= 5 * DELAY_MS - 1);
  });
});

describe('stall', () => {
  test('a stalled spoke hears nothing and says nothing until it is resumed, and then everything', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub');
    const atHub = listenTo(hub, 't:1');
    const a = await makeListener(network, 'a', hub);
    const b = await makeListener(network, 'b', hub);
    network.stall('a');
    for (const n of upTo(100)) publish(hub, n);
    for (const n of upTo(100)) publish(a.spoke, n);
    await b.heard.reaches(100);
    assert.deepEqual([a.heard.length, atHub.length], [0, 0]);
    network.resume(a.spoke);
    await Promise.all([a.heard.reaches(100), atHub.reaches(100)]);
    assert.deepEqual([payloadsOf(a.heard), payloadsOf(atHub)], [upTo(100), upTo(100)]);
    assert.equal(a.spoke.stats().connects, 1);
  });

  test('a spoke that is stalled for too long is cut with 1013 and learns that it missed something', async (t) => {
    const network = makeNetwork(t);
    const tooSlow = new Log();
    const hub = network.hub('hub', {
      maxBufferedAmount: 64 << 10,
      stallMs: 20,
      onBackpressure: (connection) => tooSlow.push(connection.url),
    });
    const a = await makeListener(network, 'a', hub);
    const b = await makeListener(network, 'b', hub);
    const gone = next(hub, 'disconnection');
    network.stall('a');
    let published = 0;
    const filler = 'x'.repeat(1000);
    await eventually(async () => {
      for (let n = 0; n < 20; n++) publish(hub, `${published++} ${filler}`);
      await b.heard.reaches(published);
      return tooSlow.length > 0;
    }, 'the hub gives up on a');
    const gap = next(a.spoke, 'gap');
    network.resume('a');
    const { cause, topics } = await gap;
    assert.deepEqual([cause, topics], ['slow-consumer', ['t:1']]);
    assert.deepEqual([tooSlow.entries, (await gone).code], [['/a'], 1013]);
    assert.ok(a.heard.length < published, 'what was dropped was lost');
    publish(hub, 'again');
    await a.heard.has(({ payload }) => payload === 'again');
  });

  test('a node that is stalled for longer than its links may be silent is taken for dead, and takes them for dead', async (t) => {
    const network = makeNetwork(t);
    const limits = { heartbeatMs: 400 };
    const hub = network.hub('hub', { limits });
    const { spoke } = await makeListener(network, 'a', hub, { limits });
    const [gone, lost] = [next(hub, 'disconnection'), next(spoke, 'reconnecting')];
    network.stall('a');
    assert.deepEqual([(await gone).code, (await lost).cause.code], [1006, 'ERR_TIMED_OUT']);
    const gap = next(spoke, 'gap');
    network.resume('a');
    await gap;
  });

  test('a stalled hub answers nobody, and its spokes wait', async (t) => {
    const network = makeNetwork(t);
    const hub = network.hub('hub');
    const { spoke } = await makeListener(network, 'a', hub);
    const atHub = listenTo(hub, 't:1');
    await hub.ready('t:1');
    network.stall(hub);
    const late = network.spoke('late', hub, { reconnect: eager, limits: { handshakeMs: 30 } });
    assert.equal((await next(late, 'reconnecting')).cause.code, 'ERR_TIMED_OUT');
    publish(spoke, 1);
    network.resume(hub);
    await within(late.ready(), 'the late one gets in');
    await atHub.reaches(1);
  });
});

describe('half-open', () => {
  test('bytes vanish without a word, and the heartbeats of both ends find it', async (t) => {
    const network = makeNetwork(t);
    const limits = { heartbeatMs: 400 };
    const hub = network.hub('hub', { limits });
    const { spoke, heard } = await makeListener(network, 'a', hub, { limits });
    const gone = next(hub, 'disconnection');
    const lost = next(spoke, 'reconnecting');
    network.halfOpen('a', 'hub');
    publish(hub, 'vanishes');
    publish(spoke, 'vanishes');
    await hub.flush();
    assert.deepEqual([spoke.state, hub.connections.size], ['open', 1], 'nobody knows yet');
    assert.equal((await lost).cause.code, 'ERR_TIMED_OUT');
    assert.deepEqual([(await gone).code, (await gone).clean], [1006, false]);
    const gap = next(spoke, 'gap');
    network.heal('a', 'hub');
    assert.equal((await gap).direction, 'both');
    publish(hub, 'arrives');
    await heard.reaches(1);
    assert.deepEqual(payloadsOf(heard), ['arrives']);
  });
});

describe('seed and misuse', () => {
  test('the seed is what was given, or a random one', () => {
    assert.equal(createNetwork({ seed: 0 }).seed, 0);
    assert.equal(createNetwork({ seed: Number.MAX_SAFE_INTEGER }).seed, Number.MAX_SAFE_INTEGER);
    const seeds = new Set(upTo(10).map(() => createNetwork().seed));
    assert.ok(seeds.size > 1, [...seeds].join());
    for (const seed of seeds) assert.ok(Number.isSafeInteger(seed) && seed >= 0);
  });

  test('misuse throws with a code, and says what was expected', async (t) => {
    const network = makeNetwork(t, { seed: 7 });
    const misuse = (act, message) => {
      assert.throws(act, (error) => {
        assert.deepEqual([error.name, error.code, error.message], ['TypeError', 'ERR_INVALID_OPTION', message]);
        return true;
      });
    };
    misuse(() => network.stall('hub'), 'no node "hub" in this network (seed 7); known are none yet');
    const hub = network.hub('hub');
    network.hub('second');
    network.spoke('a', 'hub');
    network.spoke('b', 'hub');
    const known = '(seed 7); known are "hub", "second", "a", "b"';
    misuse(() => network.cut('a', 'hbu'), `no node "hbu" in this network ${known}`);
    misuse(() => network.resume(createMemoryEventTarget()), `no target of this network ${known}`);
    misuse(() => network.spoke('c', 'nobody'), `no node "nobody" in this network ${known}`);
    misuse(() => network.stall(undefined), `no target of this network ${known}`);
    misuse(() => network.spoke('c', 'a'), '"a" is a spoke (seed 7); expected a hub of this network');
    misuse(() => network.hub('hub'), `"hub" is taken by a hub that is ${hub.state} (seed 7); close it first`);
    misuse(() => network.spoke('a', 'hub'), '"a" is taken by a spoke that is connecting (seed 7); close it first');
    misuse(() => network.hub(''), 'name must be a non-empty string, got ""');
    const pair = '(seed 7): expected a spoke and its hub';
    misuse(() => network.cut('a', 'b'), `"a" is a spoke of "hub", "b" is a spoke of "hub" ${pair}`);
    misuse(() => network.heal('a', 'second'), `"a" is a spoke of "hub", "second" is a hub ${pair}`);
    misuse(() => network.halfOpen('hub', 'hub'), `"hub" is a hub, "hub" is a hub ${pair}`);
    misuse(() => network.lag(-1), 'delayMs must be a non-negative integer up to 2147483647, got -1');
    misuse(() => network.lag(), 'delayMs must be a non-negative integer, got undefined');
    misuse(() => network.lag(1, 0.5), 'jitterMs must be a non-negative integer up to 2147483647, got 0.5');
    misuse(
      () => network.lag('a', 'hub', 2 ** 31),
      'delayMs must be a non-negative integer up to 2147483647, got 2147483648',
    );
    misuse(() => createNetwork({ seed: -1 }), 'seed must be a non-negative integer, got -1');
    misuse(() => createNetwork({ seeds: 1 }), 'options has no "seeds"; known are seed');
    assert.throws(() => network.hub('c', { relays: true }), { code: 'ERR_INVALID_OPTION' });
    assert.throws(() => network.spoke('c', 'hub', { url: 'ws://x' }), { code: 'ERR_INVALID_OPTION' });
    assert.equal(network.hub('c').state, 'connecting', 'a call that threw takes no name');
  });
});
