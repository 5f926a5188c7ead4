// withPayloadDetail under the createPubSub of @graphql-yoga/subscription, unmodified, over every target: issue F, part 7.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { createPubSub as createYogaPubSub } from '@graphql-yoga/subscription';
import { WebSocket } from 'ws';
import { createWebSocketClientEventTarget } from '../../dist/event-target-websocket-client.js';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { createEvent, createMemoryEventTarget, createPubSub, withPayloadDetail } from '../../dist/index.js';

const TIMEOUT_MS = 60_000;

async function hubWith(options = {}) {
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, ...options });
  await hub.ready();
  return hub;
}

const closeAll = async (...targets) => void (await Promise.all(targets.map((target) => target.close())));

/** `a` publishes, `b` subscribes; `ready(topic)` says when b hears a. */
const pairs = {
  'the memory target': () => {
    const target = createMemoryEventTarget();
    return { a: target, b: target, ready: (topic) => target.ready(topic), close: () => target.close() };
  },
  'the platform’s EventTarget': () => {
    const target = new EventTarget();
    return { a: target, b: target, ready: async () => {}, close: async () => {} };
  },
  'a hub and its spoke': async () => {
    const hub = await hubWith();
    const spoke = createWebSocketClientEventTarget(hub.address.url);
    return { a: hub, b: spoke, ready: (topic) => spoke.ready(topic), close: () => closeAll(spoke, hub) };
  },
  'a spoke and its hub': async () => {
    const hub = await hubWith();
    const spoke = createWebSocketClientEventTarget(hub.address.url);
    return { a: spoke, b: hub, ready: () => spoke.ready(), close: () => closeAll(spoke, hub) };
  },
  'two spokes at a relaying hub': async () => {
    const hub = await hubWith({ relay: true });
    const [a, b] = [1, 2].map(() => createWebSocketClientEventTarget(hub.address.url));
    await a.ready();
    return { a, b, ready: (topic) => b.ready(topic), close: () => closeAll(a, b, hub) };
  },
  'a spoke over a WebSocket of `ws`': async () => {
    const hub = await hubWith();
    const socket = new WebSocket(hub.address.url);
    const spoke = createWebSocketClientEventTarget(socket);
    const close = async () => {
      await spoke.close();
      socket.on('error', () => {}).close();
      await hub.close();
    };
    return { a: hub, b: spoke, ready: (topic) => spoke.ready(topic), close };
  },
};

for (const [name, makePair] of Object.entries(pairs)) {
  suite(`@graphql-yoga/subscription over ${name}`, { timeout: TIMEOUT_MS }, () => {
    const over = (sentence, check) =>
      test(sentence, { timeout: TIMEOUT_MS }, async () => {
        const pair = await makePair();
        const yogaAt = (target) => createYogaPubSub({ eventTarget: withPayloadDetail(target) });
        try {
          await check({ ...pair, publisher: yogaAt(pair.a), subscriber: yogaAt(pair.b) });
        } finally {
          await pair.close();
        }
      });

    over(
      'events under a key with an id, a key alone and a key with colons come with their bare payload',
      async (pair) => {
        const { publisher, subscriber, ready } = pair;
        const room = subscriber.subscribe('chat.msg', 'room:1');
        const alone = subscriber.subscribe('tick');
        const colons = subscriber.subscribe('a:b', 'c');
        const pulls = [room.next(), alone.next(), colons.next()];
        for (const topic of ['chat.msg:room:1', 'tick:', 'a:b:c']) await ready(topic);
        publisher.publish('chat.msg', 'room:2', 'another room');
        publisher.publish('chat.msg', 'room:1', { text: 'hello' });
        publisher.publish('tick', 5);
        publisher.publish('a:b', 'c', [1, 2]);
        assert.deepEqual(
          (await Promise.all(pulls)).map(({ value }) => value),
          [{ text: 'hello' }, 5, [1, 2]],
        );
      },
    );

    over('a thousand events keep their order, and the subscription ends its interest', async (pair) => {
      const { b, publisher, subscriber, ready } = pair;
      const numbers = subscriber.subscribe('n', 'x');
      const first = numbers.next();
      await ready('n:x');
      for (let n = 0; n < 1000; n++) publisher.publish('n', 'x', n);
      assert.equal((await first).value, 0);
      for (let n = 1; n < 1000; n++) assert.equal((await numbers.next()).value, n);
      await numbers.return();
      if (b.ready !== undefined) await assert.rejects(b.ready('n:x'), { code: 'ERR_NOT_SUBSCRIBED' });
    });

    over('it and our createPubSub understand each other', async (pair) => {
      const { a, b, publisher, subscriber, ready } = pair;
      const ours = createPubSub({ eventTarget: b }).subscribe('chat.msg', 'r1');
      const theirs = subscriber.subscribe('chat.msg', 'r2').next();
      for (const topic of ['chat.msg:r1', 'chat.msg:r2']) await ready(topic);
      publisher.publish('chat.msg', 'r1', { n: 1 });
      createPubSub({ eventTarget: a }).publish('chat.msg', 'r2', { n: 2 });
      assert.deepEqual((await ours.next()).value, { type: 'chat.msg', id: 'r1', payload: { n: 1 } });
      assert.deepEqual((await theirs).value, { n: 2 });
      await ours.return();
    });

    over('names of the life cycle are types like any other', async ({ publisher, subscriber, ready }) => {
      const pulls = ['open', 'error', 'gap', 'close'].map((key) => subscriber.subscribe(key).next());
      for (const topic of ['open:', 'error:', 'gap:', 'close:']) await ready(topic);
      for (const key of ['open', 'error', 'gap', 'close']) publisher.publish(key, key);
      assert.deepEqual(
        (await Promise.all(pulls)).map(({ value }) => value),
        ['open', 'error', 'gap', 'close'],
      );
    });
  });
}

// ---- The view by itself ----

test('a view has the listeners of an EventTarget, and one listener at the target per name', () => {
  const calls = [];
  class Recording extends EventTarget {
    addEventListener(name, ...rest) {
      calls.push(`+${name}`);
      super.addEventListener(name, ...rest);
    }
    removeEventListener(name, ...rest) {
      calls.push(`-${name}`);
      super.removeEventListener(name, ...rest);
    }
  }
  const view = withPayloadDetail(new Recording());
  const controller = new AbortController();
  const seen = [];
  view.addEventListener('a:b', ({ detail, type, target }) => seen.push([type, detail, target === view]), {
    once: true,
  });
  view.addEventListener('a:b', { handleEvent: ({ detail }) => seen.push(detail) }, { signal: controller.signal });
  assert.equal(view.dispatchEvent(new CustomEvent('a:b', { detail: 1 })), true);
  view.dispatchEvent(new CustomEvent('a:b', { detail: 2 }));
  controller.abort();
  view.dispatchEvent(new CustomEvent('a:b', { detail: 3 }));
  assert.deepEqual(seen, [['a:b', 1, true], 1, 2]);
  assert.deepEqual(calls, ['+a:b', '-a:b']);
});

test('a name with and without its last colon are one topic, each listener under its own name', () => {
  const target = createMemoryEventTarget();
  const view = withPayloadDetail(target);
  const seen = [];
  for (const name of ['chat', 'chat:']) view.addEventListener(name, ({ type, detail }) => seen.push([type, detail]));
  target.dispatchEvent(createEvent('chat', '', 5));
  assert.deepEqual(seen, [
    ['chat', 5],
    ['chat:', 5],
  ]);
});

test('what the target refuses the view refuses, and what is no envelope is not passed on', () => {
  const target = createMemoryEventTarget();
  const view = withPayloadDetail(target);
  view.addEventListener('a:b', () => assert.fail('no envelope'));
  target.dispatchEvent(new CustomEvent('a:b', { detail: { n: 1 } }));
  assert.throws(() => view.dispatchEvent(new CustomEvent('__x', { detail: 1 })), { code: 'ERR_RESERVED_TYPE' });
  assert.throws(() => view.dispatchEvent(new CustomEvent(':x', { detail: 1 })), { code: 'ERR_INVALID_TOPIC' });
  assert.throws(() => view.dispatchEvent({ type: 'a:b' }), TypeError);
  assert.throws(() => withPayloadDetail({}), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
});
