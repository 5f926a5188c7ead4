// Peers that know JSON envelopes, __subscribe and __unsubscribe and nothing else: our hub serves them, our client lives with them.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createEvent } from '@alkdev/pubsub-native';
import { randomFrom, seedFor } from '../core/random.mjs';
import { BareClient, BareHub, envelope, rush } from './bare-peers.mjs';
import { eventually, Log, listenTo, next, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

/** What issue A promises for ready() with a hub that knows no hello. */
const READY_MS = 3000;

describe('a plain client at our hub', () => {
  test('a bare client hears the hub and other clients, is heard, and never sees a frame it does not know', async (t) => {
    const errors = new Log();
    const hub = await makeHub(t, { relay: true, limits: { maxTopicsPerConnection: 2 } });
    hub.addEventListener('error', ({ detail }) => errors.push(detail.code));
    const heard = listenTo(hub, 'up:1');
    const [bare, other] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await bare.subscribe(hub, 'down:1', 'side:1');

    // What a native peer would be answered: a refusal, and confirmations of what others do.
    bare.publish('__subscribe', '', { topic: 'one:too-many' });
    bare.publish('__subscribe', '', { topic: '' });
    bare.publish('__ping?', '', { t: 1 });
    bare.say('no envelope');
    const spoke = await makeOpenSpoke(t, hub);
    spoke.addEventListener('down:1', () => {});
    await spoke.ready('down:1');

    bare.publish('up', '1', { n: 1 });
    await heard.reaches(1);
    assert.deepEqual(heard.entries, [{ type: 'up', id: '1', payload: { n: 1 } }]);

    hub.dispatchEvent(createEvent('down', '1', { n: 2 }));
    other.publish('side', '1', { n: 3 });
    await bare.frames.reaches(2);
    spoke.dispatchEvent(createEvent('side', '1', { n: 4 }));
    await bare.frames.reaches(3);
    hub.dispatchEvent(createEvent('down', '2', 'not subscribed'));
    bare.publish('__unsubscribe', '', { topic: 'side:1' });
    await eventually(() => hub.subscribers('side:1') === 0, 'unsubscribed');
    other.publish('side', '1', 'no longer');
    await hub.close();
    await bare.closed;

    assert.deepEqual(bare.frames.entries.slice(0, 2).sort(), [
      envelope('down', '1', { n: 2 }),
      envelope('side', '1', { n: 3 }),
    ]);
    assert.deepEqual(bare.frames.entries.slice(2), [envelope('side', '1', { n: 4 })]);
    assert.deepEqual(errors.entries, ['ERR_MALFORMED']);
    assert.equal(other.frames.length, 0);
  });

  test('a plain client that loses events by an overflow of the hub is told nothing that it does not know', async (t) => {
    const hub = await makeHub(t, { maxPendingBytes: 4096 });
    hub.addEventListener('error', () => {});
    const bare = await BareClient.to(t, hub);
    await bare.subscribe(hub, 'down:1');
    for (let n = 0; n < 1000; n++) hub.dispatchEvent(createEvent('down', '1', n));
    await hub.flush();
    hub.dispatchEvent(createEvent('down', '1', 'last'));
    await bare.frames.has((frame) => frame.includes('last'));
    assert.ok(hub.stats().dropped > 0, 'the hub has dropped events');
    assert.ok(bare.envelopes.every(({ type }) => type === 'down'));
  });

  test("the runtime's own WebSocket works in both directions", async (t) => {
    const hub = await makeHub(t);
    const heard = listenTo(hub, 'up:1');
    const flags = typeof WebSocket === 'undefined' ? ['--experimental-websocket', '--no-warnings'] : [];
    const fixture = fileURLToPath(new URL('fixtures/builtin-websocket.mjs', import.meta.url));
    const printed = new Promise((resolve, reject) => {
      const options = { timeout: 15_000 };
      const done = (error, stdout) => (error === null ? resolve(stdout) : reject(error));
      execFile(process.execPath, [...flags, fixture, hub.address.url], options, done);
    });
    await Promise.race([heard.reaches(1), printed]);
    assert.deepEqual(heard.entries, [{ type: 'up', id: '1', payload: { from: 'builtin' } }]);
    hub.dispatchEvent(createEvent('down', '1', 'first'));
    hub.dispatchEvent(createEvent('down', '1', 'last'));
    assert.deepEqual(JSON.parse(await printed), [envelope('down', '1', 'first'), envelope('down', '1', 'last')]);
  });

  test('events sent in one segment with the handshake are all heard', async (t) => {
    const hub = await makeHub(t);
    const heard = listenTo(hub, 'early:1');
    const early = Array.from({ length: 20 }, (_, n) => envelope('early', '1', n));
    await rush(t, hub.address.port, ...early);
    await heard.reaches(early.length);
    assert.deepEqual(
      heard.entries.map(({ payload }) => payload),
      early.map((_, n) => n),
    );
  });

  test('events sent in one segment with the handshake wait for an onConnection that takes its time', async (t) => {
    const log = new Log();
    let admit;
    const admitted = new Promise((resolve) => {
      admit = resolve;
    });
    const hub = await makeHub(t, {
      onConnection: async (_, connection) => {
        log.push(`onConnection ${connection.id}`);
        if (connection.id === 1) await admitted;
      },
    });
    hub.addEventListener('connection', ({ detail }) => log.push(`connection ${detail.connection.id}`));
    hub.addEventListener('early:1', ({ detail }) => log.push(detail.payload));
    await rush(t, hub.address.port, envelope('early', '1', 'first of 1'), envelope('early', '1', 'second of 1'));
    await log.reaches(1);
    await rush(t, hub.address.port, envelope('early', '1', 'first of 2'));
    await log.reaches(4);
    admit();
    await log.reaches(7);
    assert.deepEqual(log.entries, [
      'onConnection 1',
      'onConnection 2',
      'connection 2',
      'first of 2',
      'connection 1',
      'first of 1',
      'second of 1',
    ]);
  });
});

describe('our client at a plain hub', () => {
  for (const autoPong of [true, false]) {
    const kind = autoPong ? 'answers pings' : 'ignores pings';
    test(`ready() and ready(topic) resolve unacknowledged at a hub that ${kind}, and events flow both ways`, async (t) => {
      const hub = await BareHub.start(t, { autoPong });
      const spoke = makeSpoke(t, hub.url);
      const heard = listenTo(spoke, 'down:1');
      const began = Date.now();
      const answers = await within(Promise.all([spoke.ready(), spoke.ready('down:1')]), 'ready', READY_MS);
      t.diagnostic(`ready after ${Date.now() - began} ms`);
      assert.deepEqual(answers, [{ acknowledged: false }, { acknowledged: false }]);

      await hub.subscribed('down:1');
      hub.publish('down', '1', { n: 1 });
      await heard.reaches(1);
      spoke.dispatchEvent(createEvent('up', '1', { n: 2 }));
      const up = await hub.log.has(({ type }) => type === 'up');
      assert.deepEqual(heard.entries, [{ type: 'down', id: '1', payload: { n: 1 } }]);
      assert.deepEqual(up, { type: 'up', id: '1', payload: { n: 2 } });

      // A topic that comes later is as ready as the first.
      const late = listenTo(spoke, 'late:1');
      assert.deepEqual(await within(spoke.ready('late:1'), 'ready(late)', READY_MS), { acknowledged: false });
      await hub.subscribed('late:1');
      hub.publish('late', '1', 3);
      await late.reaches(1);
      assert.equal(spoke.stats().connects, 1);
    });
  }

  test('two of our clients reach each other through a plain hub', async (t) => {
    const hub = await BareHub.start(t);
    const [one, two] = [await makeOpenSpoke(t, hub.url), await makeOpenSpoke(t, hub.url)];
    const heard = listenTo(two, 'between:us');
    await hub.subscribed('between:us');
    one.dispatchEvent(createEvent('between', 'us', { text: 'gr\u00fc\u00df dich \u{1f600}' }));
    await heard.reaches(1);
    assert.deepEqual(heard.entries, [
      { type: 'between', id: 'us', payload: { text: 'gr\u00fc\u00df dich \u{1f600}' } },
    ]);
  });

  test('a hub that speaks first is plain at once, and its first event is delivered behind open', async (t) => {
    const hub = await BareHub.start(t, {
      autoPong: false,
      onConnection: (socket) => socket.send(envelope('welcome', '1', 'hello')),
    });
    // The time-out is far longer than the test has patience.
    const spoke = makeSpoke(t, hub.url, { helloTimeoutMs: 600_000 });
    const log = new Log();
    spoke.addEventListener('open', ({ detail }) => log.push(detail));
    spoke.addEventListener('welcome:1', ({ detail }) => log.push(detail));
    await log.reaches(2);
    assert.deepEqual(log.entries, [
      { reconnected: false, native: false },
      { type: 'welcome', id: '1', payload: 'hello' },
    ]);
    assert.deepEqual(await spoke.ready('welcome:1'), { acknowledged: false });
  });

  test('with peer "plain" nothing but envelopes and subscriptions is said, and nothing is waited for', async (t) => {
    const hub = await BareHub.start(t, { autoPong: false });
    const pings = new Log();
    hub.server.on('connection', (socket) => socket.on('ping', () => pings.push('ping')));
    const spoke = makeSpoke(t, hub.url, { peer: 'plain', helloTimeoutMs: 600_000 });
    spoke.addEventListener('down:1', () => {});
    assert.deepEqual(await within(spoke.ready('down:1'), 'ready(topic)'), { acknowledged: false });
    spoke.dispatchEvent(createEvent('up', '1', 1));
    await hub.log.reaches(2);
    assert.deepEqual(
      hub.log.entries.map(({ type }) => type),
      ['__subscribe', 'up'],
    );
    assert.equal(pings.length, 0);
  });

  for (const autoPong of [true, false]) {
    test(`with peer "native" a plain hub that ${autoPong ? 'answers' : 'ignores'} pings is an error and the end`, async (t) => {
      const hub = await BareHub.start(t, { autoPong });
      const spoke = makeSpoke(t, hub.url, { peer: 'native', helloTimeoutMs: 300 });
      spoke.addEventListener('down:1', () => {});
      spoke.addEventListener('error', () => {});
      const ready = spoke.ready();
      const readyTopic = spoke.ready('down:1');
      const { error } = await within(spoke.closed, 'closed');
      assert.equal(error.code, 'ERR_NO_HELLO');
      await assert.rejects(ready, { code: 'ERR_NO_HELLO' });
      await assert.rejects(readyTopic, { code: 'ERR_NO_HELLO' });
      assert.equal(spoke.state, 'closed');
      assert.equal(spoke.stats().connects, 1);
    });
  }

  test('a hub that says hello later than we waited is taken for native from then on', async (t) => {
    const hub = await BareHub.start(t);
    const spoke = await makeOpenSpoke(t, hub.url);
    const [{ socket }] = hub.sockets;
    socket.send(envelope('__hello', '', { version: 1, role: 'hub', features: [] }));
    const answering = ({ type, payload }) =>
      type === '__subscribe' && socket.send(envelope('__subscribed', '', payload));
    socket.on('message', (data) => answering(JSON.parse(data.toString())));
    await eventually(async () => {
      const topic = `t${spoke.stats().topics}:1`;
      spoke.addEventListener(topic, () => {});
      return (await spoke.ready(topic)).acknowledged;
    }, 'an acknowledged subscription');
  });

  test('control events that only spokes may say, and unknown ones, are ignored', async (t) => {
    const hub = await BareHub.start(t);
    const spoke = await makeOpenSpoke(t, hub.url);
    const heard = listenTo(spoke, 'down:1');
    await hub.subscribed('down:1');
    const [{ socket }] = hub.sockets;
    for (const type of ['__subscribe', '__unsubscribe', '__what', '__subscribed', '__refused', '__gap', '__credit']) {
      for (const payload of [
        null,
        1,
        'x',
        [],
        {},
        { topic: 'down:1' },
        { topic: 7 },
        { bytes: -1 },
        { n: -1, topic: 'down:1' },
      ]) {
        socket.send(envelope(type, '', payload));
        socket.send(envelope(type, 'id', payload));
      }
    }
    hub.publish('down', '1', 'after');
    await heard.reaches(1);
    assert.deepEqual(heard.entries, [{ type: 'down', id: '1', payload: 'after' }]);
    assert.equal(spoke.state, 'open');
  });

  test('each change between no listener and some is told exactly once', async (t) => {
    const random = randomFrom(seedFor(t));
    const hub = await BareHub.start(t);
    const spoke = await makeOpenSpoke(t, hub.url);
    const interest = new Interest(spoke, hub, random);
    for (let step = 0; step < 1500; step++) await interest.step();
    await interest.finish();
    assert.deepEqual(hub.changes, interest.changes);
    const numbers = hub.log.entries.filter(({ type }) => type === '__subscribe').map(({ payload }) => payload.n);
    assert.deepEqual(
      numbers,
      [...numbers].sort((a, b) => a - b),
    );
    assert.equal(new Set(numbers).size, numbers.length);
    assert.equal(spoke.stats().topics, 0);
    t.diagnostic(`${interest.changes.length} changes`);
  });

  test('a once listener and an aborted one free the topic', async (t) => {
    const hub = await BareHub.start(t);
    const spoke = await makeOpenSpoke(t, hub.url);
    const heard = new Log();
    const controller = new AbortController();
    spoke.addEventListener('a:1', () => heard.push('once'), { once: true });
    spoke.addEventListener('b:1', () => heard.push('never'), { signal: controller.signal });
    await hub.subscribed('b:1');
    hub.publish('a', '1', 1);
    await hub.unsubscribed('a:1');
    controller.abort();
    await hub.unsubscribed('b:1');
    assert.deepEqual(heard.entries, ['once']);
    assert.deepEqual(hub.changes, ['+a:1', '+b:1', '-a:1', '-b:1']);
  });
});

/** Adds and removes listeners at random and knows what a plain hub should be told. */
class Interest {
  static TOPICS = ['a:1', 'b:', 'c:x:y'];
  changes = [];
  #random;
  #spoke;
  #hub;
  #callbacks = [];
  #listeners = new Map(Interest.TOPICS.map((topic) => [topic, new Map()]));
  #fired = new Log();

  constructor(spoke, hub, random) {
    this.#spoke = spoke;
    this.#hub = hub;
    this.#random = random;
    this.#callbacks = Array.from({ length: 3 }, (_, index) => (event) => this.#fired.push(`${event.type}${index}`));
  }

  async step() {
    const topic = Interest.TOPICS[this.#random(Interest.TOPICS.length)];
    const kind = this.#random(20);
    if (kind === 0) return this.#deliver(topic);
    if (kind < 10) this.#add(topic, this.#random(3), this.#random(2) === 0, this.#random(4));
    else if (kind < 18) this.#remove(topic, this.#random(3), this.#random(2) === 0);
    else this.#abort(topic);
  }

  async finish() {
    for (const topic of Interest.TOPICS) {
      for (const { callback, capture } of [...this.#listeners.get(topic).values()])
        this.#remove(topic, callback, capture);
    }
    const last = () => {};
    this.#spoke.addEventListener('end:', last);
    this.#spoke.removeEventListener('end:', last);
    this.changes.push('+end:', '-end:');
    await this.#hub.unsubscribed('end:');
  }

  /** `kind`: 0 once, 1 signal, else neither. */
  #add(topic, callback, capture, kind) {
    const listeners = this.#listeners.get(topic);
    const key = `${callback}${capture}`;
    const controller = kind === 1 ? new AbortController() : undefined;
    const options = { capture, once: kind === 0, signal: controller?.signal };
    this.#spoke.addEventListener(topic, this.#callbacks[callback], options);
    if (listeners.has(key)) return;
    if (listeners.size === 0) this.changes.push(`+${topic}`);
    listeners.set(key, { callback, capture, isOnce: kind === 0, controller });
  }

  #remove(topic, callback, capture) {
    this.#spoke.removeEventListener(topic, this.#callbacks[callback], { capture });
    this.#forget(topic, `${callback}${capture}`);
  }

  #abort(topic) {
    const entry = [...this.#listeners.get(topic)].find(([, { controller }]) => controller !== undefined);
    if (entry === undefined) return;
    const [key, { controller }] = entry;
    controller.abort();
    this.#forget(topic, key);
  }

  #forget(topic, key) {
    const listeners = this.#listeners.get(topic);
    if (listeners.delete(key) && listeners.size === 0) this.changes.push(`-${topic}`);
  }

  /** The hub publishes: every listener of the topic is called, and those with `once` go. */
  async #deliver(topic) {
    const listeners = this.#listeners.get(topic);
    if (listeners.size === 0) return;
    const before = this.#fired.length;
    const [type, ...id] = topic.split(':');
    const known = () => this.#hub.changes.filter((change) => change.endsWith(topic)).length;
    const expected = this.changes.filter((change) => change.endsWith(topic)).length;
    await eventually(() => known() === expected, `the hub knows of ${topic}`);
    this.#hub.publish(type, id.join(':'), null);
    await this.#fired.reaches(before + listeners.size);
    for (const [key, { isOnce }] of [...listeners]) if (isOnce) this.#forget(topic, key);
  }
}

describe('a plain hub that comes back', () => {
  test('after each restart on its port a spoke hears again, and one gap stands before the first event of the new link', async (t) => {
    const greets = { onConnection: (socket) => socket.send(envelope('news', '1', 'early')) };
    let hub = await BareHub.start(t, greets);
    const { port, url } = hub;
    const spoke = makeSpoke(t, url);
    const log = new Log();
    const record = (name, what) => spoke.addEventListener(name, ({ detail }) => log.push(what(detail)));
    record('open', ({ reconnected }) => `open ${reconnected}`);
    record('reconnecting', () => 'reconnecting');
    record('gap', (gap) => ({ gap }));
    record('news:1', ({ payload }) => payload);
    record('idle:1', ({ payload }) => payload);
    await spoke.ready('news:1');
    await spoke.ready('idle:1');
    await hub.subscribed('idle:1');
    hub.publish('news', '1', 'round 0');
    await log.has((entry) => entry === 'round 0');
    const before = Date.now();

    for (let round = 1; round <= 3; round++) {
      const attempts = log.entries.filter((entry) => entry === 'reconnecting').length;
      await hub.stop();
      const isBack = () => log.entries.filter((entry) => entry === 'reconnecting').length >= attempts + round;
      await eventually(isBack, `${round} attempts`);
      hub = await BareHub.start(t, { ...greets, port });
      await hub.subscribed('news:1');
      await hub.subscribed('idle:1');
      hub.publish('news', '1', `round ${round}`);
      await log.has((entry) => entry === `round ${round}`);
      assert.deepEqual(hub.changes.sort(), ['+idle:1', '+news:1']);
    }

    const gaps = log.entries.filter((entry) => entry.gap !== undefined).map(({ gap }) => gap);
    const shown = log.entries.map((entry) => (entry.gap === undefined ? entry : 'gap'));
    const withoutRepeats = shown.filter((entry, index) => entry !== 'reconnecting' || shown[index - 1] !== entry);
    const again = (round) => ['reconnecting', 'open true', 'gap', 'early', `round ${round}`];
    assert.deepEqual(withoutRepeats, ['open false', 'early', 'round 0', ...again(1), ...again(2), ...again(3)]);
    for (const { cause, direction, from, to, topics } of gaps) {
      assert.equal(cause, 'connection-lost');
      assert.equal(direction, 'in');
      assert.ok(from >= before - 1000 && from <= to && to <= Date.now() + 1, `${from} to ${to}`);
      assert.deepEqual([...topics].sort(), ['idle:1', 'news:1']);
    }
    assert.equal(spoke.stats().gaps, 3);
  });

  test('a topic first listened to during the outage, and a spoke without topics, have no gap', async (t) => {
    const hub = await BareHub.start(t);
    const { port, url } = hub;
    const [idle, late] = [await makeOpenSpoke(t, url), await makeOpenSpoke(t, url)];
    const gaps = new Log();
    for (const spoke of [idle, late]) spoke.addEventListener('gap', ({ detail }) => gaps.push(detail));
    const lost = [next(idle, 'reconnecting'), next(late, 'reconnecting')];
    await hub.stop();
    await Promise.all(lost);
    const heard = listenTo(late, 'new:1');
    const back = await BareHub.start(t, { port });
    await Promise.all([idle.ready(), late.ready('new:1')]);
    await back.subscribed('new:1');
    back.publish('new', '1', 1);
    await heard.reaches(1);
    assert.deepEqual(gaps.entries, []);
  });

  test('what was dispatched during the outage is sent behind the subscriptions, in order', async (t) => {
    const hub = await BareHub.start(t);
    const { port, url } = hub;
    const spoke = await makeOpenSpoke(t, url);
    listenTo(spoke, 'a:1', 'b:1');
    await spoke.ready('b:1');
    const lost = next(spoke, 'reconnecting');
    await hub.stop();
    await lost;
    for (let n = 0; n < 100; n++) spoke.dispatchEvent(createEvent('up', '1', n));
    const back = await BareHub.start(t, { port });
    await back.log.has(({ payload }) => payload === 99);
    const said = back.log.entries.filter(({ type }) => type !== '__hello');
    assert.deepEqual(
      said.slice(0, 2).map(({ type }) => type),
      ['__subscribe', '__subscribe'],
    );
    assert.deepEqual(
      said.slice(2).map(({ payload }) => payload),
      Array.from({ length: 100 }, (_, n) => n),
    );
  });
});
