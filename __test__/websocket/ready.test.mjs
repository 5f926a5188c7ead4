// ready() and ready(topic): what is published after they have resolved is heard; they reject, and wait, when they should.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { randomFrom, seedFor } from '../core/random.mjs';
import { BareClient, BareHub } from './bare-peers.mjs';
import { eventually, Log, listenTo, next, turn, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

/** Issue A, point 4. */
const TIMES = 10_000;

/** Nobody waits for a promise that a test expects to stay pending; true when it has settled within these turns. */
async function hasSettled(promise) {
  let settled = false;
  promise.then(
    () => {
      settled = true;
    },
    () => {
      settled = true;
    },
  );
  for (let n = 0; n < 20; n++) await turn();
  return settled;
}

describe('after ready(topic) nothing is missing', () => {
  /** Numbers events as fast as turns come, but never far ahead of `clock`, who hears all of them: no queue grows. */
  class Publisher {
    static AHEAD = 24;
    next = 0;
    #isStopped = false;
    #publish;
    #heard = 0;
    #done;

    constructor(publish, clock) {
      this.#publish = publish;
      clock.addEventListener('n:1', ({ detail }) => {
        this.#heard = detail.payload + 1;
      });
      this.#done = this.#run();
    }

    publishOne() {
      this.#publish(this.next++);
    }

    async stop() {
      this.#isStopped = true;
      await this.#done;
    }

    async #run() {
      while (!this.#isStopped) {
        for (let n = 0; n < 3 && this.next < this.#heard + Publisher.AHEAD; n++) this.publishOne();
        await turn();
      }
    }
  }

  /** Subscribes and unsubscribes in one turn, an odd number of times, and listens from then on. */
  function subscribeAnew(spoke, topic, changes, listener) {
    for (let n = 0; n < changes; n++) {
      if (n % 2 === 0) spoke.addEventListener(topic, listener);
      else spoke.removeEventListener(topic, listener);
    }
  }

  async function nothingIsMissing(t, { publisher, spoke, topic, times, changesOf }) {
    const waits = [];
    for (let time = 0; time < times; time++) {
      const numbers = [];
      let isEnough = () => false;
      let enough = () => {};
      const listener = ({ detail: { payload } }) => {
        numbers.push(payload);
        if (isEnough()) enough();
      };
      subscribeAnew(spoke, topic, changesOf(), listener);
      const began = performance.now();
      const { acknowledged } = await within(spoke.ready(topic), `ready(topic), time ${time}`);
      waits.push(performance.now() - began);
      assert.equal(acknowledged, true);
      // From here on nothing may be missing; the publisher goes on by itself, this one is sure to come.
      const first = publisher.next;
      publisher.publishOne();
      isEnough = () => numbers.at(-1) >= first;
      const heard = new Promise((resolve) => {
        enough = resolve;
      });
      if (!isEnough()) await within(heard, `event ${first}, time ${time}; heard ${numbers.slice(-5)}`);
      spoke.removeEventListener(topic, listener);
      const since = numbers.filter((number) => number >= first);
      const isWhole = since.every((number, index) => number === first + index);
      const isInOrder = numbers.every((number, index) => index === 0 || number > numbers[index - 1]);
      if (!isWhole || !isInOrder) {
        assert.fail(
          `time ${time}: from ${first} on nothing may be missing, heard ${JSON.stringify(numbers).slice(0, 400)}`,
        );
      }
    }
    waits.sort((a, b) => a - b);
    t.diagnostic(`ready(topic): median ${waits[times >> 1].toFixed(2)} ms, longest ${waits.at(-1).toFixed(1)} ms`);
    t.diagnostic(`${publisher.next} events published`);
  }

  test(`subscribe, unsubscribe, subscribe in one turn, ${TIMES} times, while the hub publishes`, async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    const clock = await makeOpenSpoke(t, hub);
    const publisher = new Publisher((n) => hub.dispatchEvent(createEvent('n', '1', n)), clock);
    await clock.ready('n:1');
    t.after(() => publisher.stop());
    await nothingIsMissing(t, { publisher, spoke, topic: 'n:1', times: TIMES, changesOf: () => 3 });
    assert.equal(spoke.stats().gaps, 0);
    assert.equal(hub.stats().slowConsumers, 0);
  });

  test('the same while another spoke publishes', async (t) => {
    const hub = await makeHub(t, { relay: true });
    const [spoke, other] = [await makeOpenSpoke(t, hub), await makeOpenSpoke(t, hub)];
    const publisher = new Publisher((n) => other.dispatchEvent(createEvent('n', '1', n)), hub);
    t.after(() => publisher.stop());
    await nothingIsMissing(t, { publisher, spoke, topic: 'n:1', times: TIMES / 5, changesOf: () => 3 });
  });

  test('any odd number of changes in one turn, on topics by turns', async (t) => {
    const random = randomFrom(seedFor(t));
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    const topics = ['n:1', 'n:2', 'm:1'];
    const clock = await makeOpenSpoke(t, hub);
    const publisher = new Publisher((n) => {
      for (const topic of topics) hub.dispatchEvent(createEvent(...topic.split(':'), n));
    }, clock);
    await clock.ready('n:1');
    t.after(() => publisher.stop());
    const changesOf = () => 1 + 2 * random(5);
    const runs = topics.map((topic) => nothingIsMissing(t, { publisher, spoke, topic, times: 300, changesOf }));
    await Promise.all(runs);
  });

  test('a late subscriber hears nothing that was published before it subscribed', async (t) => {
    const hub = await makeHub(t);
    const [early, late] = [await makeOpenSpoke(t, hub), await makeOpenSpoke(t, hub)];
    const atEarly = listenTo(early, 'n:1');
    await early.ready('n:1');
    for (let n = 0; n < 100; n++) hub.dispatchEvent(createEvent('n', '1', n));
    await atEarly.reaches(100);
    const atLate = listenTo(late, 'n:1');
    await late.ready('n:1');
    for (let n = 100; n < 200; n++) hub.dispatchEvent(createEvent('n', '1', n));
    const heard = await atLate.reaches(100);
    assert.deepEqual(
      heard.map(({ payload }) => payload),
      Array.from({ length: 100 }, (_, n) => 100 + n),
    );
  });

  test('after unsubscribing nothing is heard, and after subscribing again only what is new', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    const heard = new Log();
    const listener = ({ detail }) => heard.push(detail.payload);
    spoke.addEventListener('n:1', listener);
    await spoke.ready('n:1');
    hub.dispatchEvent(createEvent('n', '1', 'heard'));
    await heard.reaches(1);
    spoke.removeEventListener('n:1', listener);
    await eventually(() => hub.subscribers('n:1') === 0, 'the hub knows');
    hub.dispatchEvent(createEvent('n', '1', 'not heard'));
    spoke.addEventListener('n:1', listener);
    await spoke.ready('n:1');
    hub.dispatchEvent(createEvent('n', '1', 'heard again'));
    await heard.reaches(2);
    assert.deepEqual(heard.entries, ['heard', 'heard again']);
  });
});

describe('ready() of a spoke', () => {
  test('resolves acknowledged at a hub of ours, before and after it opened, also for topics asked about before', async (t) => {
    const hub = await makeHub(t);
    const spoke = makeSpoke(t, hub);
    listenTo(spoke, 'a:1');
    assert.equal(spoke.state, 'connecting');
    const answers = await within(Promise.all([spoke.ready(), spoke.ready('a:1'), spoke.ready('a:1')]), 'ready');
    assert.deepEqual(answers, [{ acknowledged: true }, { acknowledged: true }, { acknowledged: true }]);
    assert.equal(spoke.state, 'open');
    assert.deepEqual(await spoke.ready(), { acknowledged: true });
    assert.deepEqual(await spoke.ready('a:1'), { acknowledged: true });
    assert.equal(hub.subscribers('a:1'), 1);
  });

  test('rejects with ERR_NOT_SUBSCRIBED without a listener, and when the last one goes meanwhile', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    await assert.rejects(spoke.ready('a:1'), { code: 'ERR_NOT_SUBSCRIBED' });
    const listener = () => {};
    spoke.addEventListener('a:1', listener);
    const pending = spoke.ready('a:1');
    spoke.removeEventListener('a:1', listener);
    await assert.rejects(within(pending, 'an answer'), { code: 'ERR_NOT_SUBSCRIBED' });
    spoke.addEventListener('a:1', listener);
    assert.deepEqual(await within(spoke.ready('a:1'), 'an answer'), { acknowledged: true });
  });

  test('rejects with ERR_CLOSED when the target is closed, before and meanwhile', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    listenTo(spoke, 'a:1');
    const pending = spoke.ready('a:1');
    const closing = spoke.close();
    const answer = await pending.catch((error) => error);
    assert.ok(answer.code === 'ERR_CLOSED' || answer.acknowledged === true, String(answer));
    await assert.rejects(spoke.ready('a:1'), { code: 'ERR_CLOSED' });
    await assert.rejects(spoke.ready(), { code: 'ERR_CLOSED' });
    await closing;
    await assert.rejects(spoke.ready(), { code: 'ERR_CLOSED' });
    await assert.rejects(spoke.ready('a:1'), { code: 'ERR_CLOSED' });
  });

  test('rejects with ERR_CLOSED when a spoke that never connected is closed', async (t) => {
    const hub = await makeHub(t);
    const { url } = hub.address;
    await hub.close();
    const spoke = makeSpoke(t, url);
    listenTo(spoke, 'a:1');
    const pending = [spoke.ready(), spoke.ready('a:1')];
    await next(spoke, 'reconnecting');
    await spoke.close();
    for (const promise of pending) await assert.rejects(promise, { code: 'ERR_CLOSED' });
  });

  test('rejects with the reason when the first attempt was the last', async (t) => {
    const hub = await makeHub(t);
    const { url } = hub.address;
    await hub.close();
    for (const reconnect of [false, { initial: false }]) {
      const spoke = makeSpoke(t, url, { reconnect });
      spoke.addEventListener('error', () => {});
      listenTo(spoke, 'a:1');
      const pending = [spoke.ready(), spoke.ready('a:1')];
      for (const promise of pending) await assert.rejects(within(promise, 'a rejection'), { code: 'ERR_CONNECT' });
      assert.equal(spoke.state, 'closed');
      assert.equal((await spoke.closed).error.code, 'ERR_CONNECT');
    }
  });

  test('rejects when the hub refused the topic, also when that is asked later', async (t) => {
    const hub = await makeHub(t, { limits: { maxTopicsPerConnection: 1 } });
    const spoke = await makeOpenSpoke(t, hub);
    listenTo(spoke, 'a:1');
    await spoke.ready('a:1');
    const refused = next(spoke, 'error');
    listenTo(spoke, 'b:1');
    assert.equal((await refused).code, 'ERR_LIMIT');
    await assert.rejects(within(spoke.ready('b:1'), 'an answer', 3000), { code: 'ERR_LIMIT' });
    assert.deepEqual(await spoke.ready('a:1'), { acknowledged: true });
  });

  test('an aborted signal rejects with its reason and leaves the target as it was', async (t) => {
    const plain = await BareHub.start(t, { autoPong: false });
    const spoke = makeSpoke(t, plain.url, { helloTimeoutMs: 600_000 });
    listenTo(spoke, 'a:1');
    const reason = new Error('changed my mind');
    await assert.rejects(spoke.ready(undefined, { signal: AbortSignal.abort(reason) }), reason);
    await assert.rejects(spoke.ready('a:1', { signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const aborted = [spoke.ready(undefined, controller), spoke.ready('a:1', controller)];
    const pending = [spoke.ready(), spoke.ready('a:1')];
    await plain.subscribed('a:1');
    assert.equal(await hasSettled(Promise.race([...aborted, ...pending])), false);
    controller.abort(reason);
    for (const promise of aborted) await assert.rejects(promise, reason);
    // The hub speaks: now it is taken for plain.
    plain.publish('a', '1', null);
    assert.deepEqual(await within(Promise.all(pending), 'ready'), [{ acknowledged: false }, { acknowledged: false }]);
  });

  test('rejections that nobody looks at are no unhandled ones', async (t) => {
    const unhandled = new Log();
    const listener = (reason) => unhandled.push(reason);
    process.on('unhandledRejection', listener);
    t.after(() => process.off('unhandledRejection', listener));
    const hub = await makeHub(t);
    const spoke = makeSpoke(t, hub);
    listenTo(spoke, 'a:1');
    spoke.ready('b:1');
    spoke.ready('a:1');
    spoke.ready();
    spoke.ready(undefined, { signal: AbortSignal.abort() });
    spoke.ready('a:1', { signal: AbortSignal.timeout(1) });
    await spoke.close();
    spoke.ready();
    hub.ready('b:1');
    await hub.close();
    hub.ready();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(unhandled.entries, []);
  });

  test('stays pending while reconnecting, and resolves when the topic is active again', async (t) => {
    const hub = await makeHub(t);
    const { port } = hub.address;
    const spoke = await makeOpenSpoke(t, hub);
    const heard = listenTo(spoke, 'a:1');
    await spoke.ready('a:1');
    const lost = next(spoke, 'reconnecting');
    await hub.close({ code: 1012, reason: 'restart' });
    await lost;
    assert.equal(spoke.state, 'reconnecting');
    listenTo(spoke, 'b:1');
    const pending = [spoke.ready(), spoke.ready('a:1'), spoke.ready('b:1')];
    assert.equal(await hasSettled(Promise.race(pending)), false);

    const again = await makeHub(t, { listen: { port } });
    const answers = await within(Promise.all(pending), 'ready again');
    assert.deepEqual(answers, [{ acknowledged: true }, { acknowledged: true }, { acknowledged: true }]);
    again.dispatchEvent(createEvent('a', '1', 'back'));
    await heard.reaches(1);
    assert.equal(spoke.state, 'open');
  });

  test('a rejection while reconnecting comes when the listener goes', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    const listener = () => {};
    spoke.addEventListener('a:1', listener);
    const lost = next(spoke, 'reconnecting');
    await hub.close({ code: 1001 });
    await lost;
    const pending = spoke.ready('a:1');
    spoke.removeEventListener('a:1', listener);
    await assert.rejects(within(pending, 'an answer'), { code: 'ERR_NOT_SUBSCRIBED' });
  });
});

describe('ready() of a hub and of the target of one connection', () => {
  test('the own interest of a hub is active at once', async (t) => {
    const hub = await makeHub(t);
    const heard = listenTo(hub, 'a:1');
    assert.deepEqual(await hub.ready(), { acknowledged: true });
    assert.deepEqual(await hub.ready('a:1'), { acknowledged: true });
    await assert.rejects(hub.ready('b:1'), { code: 'ERR_NOT_SUBSCRIBED' });
    const bare = await BareClient.to(t, hub);
    bare.publish('a', '1', 1);
    await heard.reaches(1);
  });

  test('the target of one connection is ready when the connection is admitted', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target) => targets.push(target) });
    await makeOpenSpoke(t, hub);
    const [target] = await targets.reaches(1);
    listenTo(target, 'a:1');
    await within(target.ready(), 'ready');
    assert.equal(target.state, 'open');
    assert.deepEqual(await within(target.ready('a:1'), 'ready'), { acknowledged: true });
  });
});
