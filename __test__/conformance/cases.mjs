// What every target has to do, as tests over a pair of targets that are connected: whatever `a` publishes `b` hears, and back.
// Does not know any transport. What a target cannot do is a capability here, visible in this one place:
//
// | capability     | meaning                                                                                        |
// |----------------|------------------------------------------------------------------------------------------------|
// | `transport`    | events travel as JSON and names are checked; without it the object itself is passed            |
// | `echo`         | a publisher's own listeners hear what it publishes                                             |
// | `acknowledges` | `ready(topic)` is the answer of a peer that knows, not only "it was written"                   |
// | `small`        | an event has 64 KiB at most: the large payloads are the smaller for it                         |
//
// Tests wait for facts: that something was *not* heard is known when a later event on the same path was.
import assert from 'node:assert/strict';
import { createEvent, createPubSub } from '../../dist/index.js';
import { checkIdleReaders } from './idle-readers.mjs';
import { uncaughtDuring } from './uncaught.mjs';

/**
 * The suite for one kind of target: sentences and what they claim of a pair `{ a, b }` that is ready.
 * @param {{ transport: boolean, echo: boolean, acknowledges: boolean, small?: boolean }} capabilities
 * @returns {[sentence: string, check: (pair: { a: object, b: object }) => Promise<void>][]}
 */
export function casesOf(capabilities) {
  return [
    ...exchange(capabilities),
    ...listening(capabilities),
    ...payloads(capabilities),
    ...misuse(capabilities),
    ...lifeCycle(capabilities),
  ];
}

// ---- Words of the tests ---------------------------------------------------------------------------------------------------------

/** Listens at once and is ready when it may be published to; `next(n)` waits for the next n envelopes. */
export async function listen(target, ...topics) {
  const envelopes = [];
  let wake = () => {};
  const listener = ({ detail }) => {
    envelopes.push(detail);
    wake();
  };
  for (const topic of topics) target.addEventListener(topic, listener);
  await Promise.all(topics.map((topic) => target.ready(topic)));
  const stop = () => {
    for (const topic of topics) target.removeEventListener(topic, listener);
  };
  const next = async (count = 1) => {
    while (envelopes.length < count) await new Promise((resolve) => (wake = resolve));
    return envelopes.splice(0, count);
  };
  return { next, stop, envelopes };
}

export function publish(target, type, id, payload) {
  assert.equal(target.dispatchEvent(createEvent(type, id, payload)), true);
}

const payloadsOf = (envelopes) => envelopes.map(({ payload }) => payload);

// ---- Events from one to the other -----------------------------------------------------------------------------------------------

function exchange({ echo }) {
  return [
    [
      'what one publishes the other hears once, as a CustomEvent at its own target',
      async ({ a, b }) => {
        const events = [];
        b.addEventListener('chat.msg:r1', (event) => events.push([event, event.target, event.currentTarget]));
        const done = await listen(b, 'done:');
        await b.ready('chat.msg:r1');
        publish(a, 'chat.msg', 'r1', { n: 1 });
        publish(a, 'done', '', null);
        await done.next();
        const [[event, target, currentTarget], ...others] = events;
        assert.deepEqual(others, []);
        assert(event instanceof CustomEvent);
        assert.deepEqual(
          [event.type, event.detail],
          ['chat.msg:r1', { type: 'chat.msg', id: 'r1', payload: { n: 1 } }],
        );
        assert(target === b && currentTarget === b);
      },
    ],
    [
      'events go both ways at the same time',
      async ({ a, b }) => {
        const [atA, atB] = [await listen(a, 'to:a'), await listen(b, 'to:b')];
        for (let n = 0; n < 100; n++) {
          publish(a, 'to', 'b', n);
          publish(b, 'to', 'a', n);
        }
        const expected = Array.from({ length: 100 }, (_, n) => n);
        assert.deepEqual(payloadsOf(await atA.next(100)), expected);
        assert.deepEqual(payloadsOf(await atB.next(100)), expected);
      },
    ],
    [
      'ten thousand events over twenty topics arrive complete and in the order in which they were published',
      async ({ a, b }) => {
        const topics = Array.from({ length: 20 }, (_, i) => `t:${i}`);
        const heard = await listen(b, ...topics);
        for (let n = 0; n < 10_000; n++) publish(a, 't', String((n * 7) % 20), n);
        assert.deepEqual(
          payloadsOf(await heard.next(10_000)),
          Array.from({ length: 10_000 }, (_, n) => n),
        );
      },
    ],
    [
      'two thousand ids, each seen once, arrive as well',
      async ({ a, b }) => {
        const ids = Array.from({ length: 2000 }, (_, i) => `request-${i}`);
        const heard = await listen(b, ...ids.map((id) => `call:${id}`));
        for (const id of ids) publish(a, 'call', id, id);
        const envelopes = await heard.next(ids.length);
        assert.deepEqual(
          envelopes.map(({ id, payload }) => [id, payload]),
          ids.map((id) => [id, id]),
        );
      },
    ],
    [
      echo ? 'a publisher hears itself' : 'a publisher does not hear itself',
      async ({ a, b }) => {
        const [own, other] = [await listen(a, 'a:b', 'back:'), await listen(b, 'a:b')];
        publish(a, 'a', 'b', 1);
        assert.deepEqual(payloadsOf(await other.next()), [1]);
        publish(b, 'back', '', 2);
        assert.deepEqual(payloadsOf(await own.next(echo ? 2 : 1)), echo ? [1, 2] : [2]);
      },
    ],
    [
      'a late subscriber gets nothing that was published before it',
      async ({ a, b }) => {
        const sync = await listen(b, 'sync:');
        publish(a, 'a', 'b', 'early');
        publish(a, 'sync', '', null);
        await sync.next();
        const heard = await listen(b, 'a:b');
        publish(a, 'a', 'b', 'late');
        assert.deepEqual(payloadsOf(await heard.next()), ['late']);
      },
    ],
  ];
}

// ---- Topics and listeners -------------------------------------------------------------------------------------------------------

function listening() {
  return [
    [
      'topics match whole and exactly, colons and empty ids included',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b:c', 'a:', '日本:😀', 'done:');
        for (const [type, id] of [
          ['a', 'b'],
          ['a', 'b:'],
          ['a', 'b:c'],
          ['a', 'b:c:d'],
          ['a', ''],
          ['aa', ''],
          ['A', ''],
          ['日本', '😀'],
        ])
          publish(a, type, id, null);
        publish(a, 'done', '', null);
        assert.deepEqual(
          (await heard.next(4)).map(({ type, id }) => [type, id]),
          [
            ['a', 'b:c'],
            ['a', ''],
            ['日本', '😀'],
            ['done', ''],
          ],
        );
      },
    ],
    [
      'two pairs with one topic arrive each with its own type and id, and a subscription yields only its own',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b:c');
        const subscription = createPubSub({ eventTarget: b }).subscribe('a:b', 'c');
        await subscription.ready;
        for (let n = 0; n < 6; n += 2) {
          publish(a, 'a', 'b:c', n);
          publish(a, 'a:b', 'c', n + 1);
        }
        const envelopes = await heard.next(6);
        assert.deepEqual(
          envelopes.map(({ type, payload }) => [type, payload]),
          [
            ['a', 0],
            ['a:b', 1],
            ['a', 2],
            ['a:b', 3],
            ['a', 4],
            ['a:b', 5],
          ],
        );
        for (const n of [1, 3, 5]) assert.equal((await subscription.next()).value.payload, n);
        await subscription.return();
      },
    ],
    [
      'a removed listener hears nothing, and one added again hears what is published after it is ready',
      async ({ a, b }) => {
        const done = await listen(b, 'done:');
        const first = await listen(b, 'a:b');
        first.stop();
        publish(a, 'a', 'b', 'nobody');
        publish(a, 'done', '', null);
        await done.next();
        const second = await listen(b, 'a:b');
        publish(a, 'a', 'b', 'second');
        assert.deepEqual(payloadsOf(await second.next()), ['second']);
        assert.deepEqual(first.envelopes, []);
      },
    ],
    [
      'subscribe, unsubscribe, subscribe in one turn: what is published after ready is heard',
      async ({ a, b }) => {
        const heard = [];
        const listener = ({ detail }) => heard.push(detail.payload);
        const done = await listen(b, 'done:');
        for (let round = 0; round < 50; round++) {
          b.addEventListener('a:b', listener);
          b.removeEventListener('a:b', listener);
          b.addEventListener('a:b', listener);
          await b.ready('a:b');
          publish(a, 'a', 'b', round);
          publish(a, 'done', '', null);
          await done.next();
          assert.equal(heard.at(-1), round);
          b.removeEventListener('a:b', listener);
        }
        assert.equal(heard.length, 50);
      },
    ],
    [
      'once and signal end a listener and leave the others of its topic',
      async ({ a, b }) => {
        const controller = new AbortController();
        const log = [];
        b.addEventListener('a:b', ({ detail }) => log.push(`once ${detail.payload}`), { once: true });
        b.addEventListener('a:b', ({ detail }) => log.push(`signal ${detail.payload}`), { signal: controller.signal });
        const heard = await listen(b, 'a:b');
        publish(a, 'a', 'b', 1);
        await heard.next();
        controller.abort();
        publish(a, 'a', 'b', 2);
        await heard.next();
        assert.deepEqual(log, ['once 1', 'signal 1']);
      },
    ],
    [
      'all listeners of an event get the same object, in the order of their addition, until one stops it',
      async ({ a, b }) => {
        const events = [];
        const done = await listen(b, 'done:');
        b.addEventListener('a:b', (event) => events.push(event));
        b.addEventListener('a:b', {
          handleEvent(event) {
            events.push(event);
            event.stopImmediatePropagation();
          },
        });
        b.addEventListener('a:b', () => assert.fail('stopped'));
        await b.ready('a:b');
        publish(a, 'a', 'b', 1);
        publish(a, 'done', '', null);
        await done.next();
        assert.equal(events.length, 2);
        assert.equal(events[0], events[1]);
      },
    ],
    [
      'the same listener counts once, with capture once more, and is called with the object it is as `this`',
      async ({ a, b }) => {
        const calls = [];
        const listener = function listener() {
          calls.push(this === b);
        };
        const object = {
          handleEvent() {
            calls.push(this === object);
          },
        };
        const done = await listen(b, 'done:');
        for (const capture of [false, false, true, true]) b.addEventListener('a:b', listener, { capture });
        for (let i = 0; i < 3; i++) b.addEventListener('a:b', object);
        await b.ready('a:b');
        publish(a, 'a', 'b', 1);
        publish(a, 'done', '', null);
        await done.next();
        assert.deepEqual(calls, [true, true, true]);
        b.removeEventListener('a:b', object);
        b.removeEventListener('a:b', listener);
        publish(a, 'a', 'b', 2);
        publish(a, 'done', '', null);
        await done.next();
        assert.equal(calls.length, 4);
        b.removeEventListener('a:b', listener, true);
        await assert.rejects(b.ready('a:b'), { code: 'ERR_NOT_SUBSCRIBED' });
      },
    ],
    [
      'a listener removed while its event is dispatched is not called, one added then hears the next event',
      async ({ a, b }) => {
        const log = [];
        const removed = () => log.push('removed');
        const added = ({ detail }) => log.push(`added ${detail.payload}`);
        const done = await listen(b, 'done:');
        b.addEventListener('a:b', ({ detail }) => {
          log.push(`first ${detail.payload}`);
          b.removeEventListener('a:b', removed);
          b.addEventListener('a:b', added);
        });
        b.addEventListener('a:b', removed);
        await b.ready('a:b');
        for (const n of [1, 2]) publish(a, 'a', 'b', n);
        publish(a, 'done', '', null);
        await done.next();
        assert.deepEqual(log, ['first 1', 'first 2', 'added 2']);
      },
    ],
    [
      'a listener that throws is reported as uncaught, and the others and the next events are heard',
      async ({ a, b }) => {
        const mine = new Error('mine');
        const broken = {};
        b.addEventListener('a:b', () => {
          throw mine;
        });
        b.addEventListener('a:b', broken);
        const heard = await listen(b, 'a:b');
        const caught = await uncaughtDuring(async () => {
          for (const n of [1, 2]) publish(a, 'a', 'b', n);
          assert.deepEqual(payloadsOf(await heard.next(2)), [1, 2]);
        });
        assert.equal(caught.length, 4);
        assert.equal(caught.filter((error) => error === mine).length, 2);
        assert.equal(caught.filter((error) => error instanceof TypeError).length, 2);
      },
    ],
    [
      'an idle reader of a hundred thousand events ends as its overflow rule says',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b');
        await checkIdleReaders(createPubSub({ eventTarget: b }), async (numbers) => {
          for (const n of numbers) publish(a, 'a', 'b', n);
          await heard.next(numbers.length);
        });
      },
    ],
    [
      'a pubsub on one side feeds an iterator on the other',
      async ({ a, b }) => {
        const subscription = createPubSub({ eventTarget: b }).subscribe('chat.msg', 'r1');
        await subscription.ready;
        const { publish: send } = createPubSub({ eventTarget: a });
        for (let n = 0; n < 1000; n++) send('chat.msg', 'r1', n);
        let next = 0;
        for await (const { payload } of subscription) {
          assert.equal(payload, next++);
          if (next === 1000) break;
        }
        await assert.rejects(b.ready('chat.msg:r1'), { code: 'ERR_NOT_SUBSCRIBED' });
      },
    ],
  ];
}

// ---- Payloads -------------------------------------------------------------------------------------------------------------------

function payloads({ transport, small = false }) {
  const plain = [
    null,
    true,
    0,
    -1.5e-7,
    '',
    'ascii',
    'zażółć gęślą',
    '\u0000\u2028"\\\n',
    '😀日本',
    [],
    [[1], { a: [] }],
    { '': 1, __proto__x: 2 },
  ];
  const tests = [
    [
      'plain data arrives as it was sent',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b');
        for (const payload of plain) publish(a, 'a', 'b', payload);
        assert.deepEqual(payloadsOf(await heard.next(plain.length)), plain);
      },
    ],
    [
      'small and large payloads, ASCII and not, keep their order and their text',
      async ({ a, b }) => {
        const most = small ? 60_000 : Number.POSITIVE_INFINITY;
        const sizes = [1, 200_000, 10, 16_385, 60_000, 2, 65_536, 5].map((size) => Math.min(size, most));
        const texts = sizes.map((size, i) => (i % 3 === 2 ? 'ż' : 'x').repeat(size));
        const heard = await listen(b, 'a:b');
        for (const text of texts) publish(a, 'a', 'b', text);
        assert.deepEqual(payloadsOf(await heard.next(texts.length)), texts);
      },
    ],
  ];
  if (!transport) return tests;
  return [
    ...tests,
    [
      'payloads arrive as JSON.stringify makes them',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b');
        const sent = [
          undefined,
          Number.NaN,
          new Date(0),
          { gone: undefined, kept: [undefined] },
          JSON.parse('{"__proto__":{"x":1}}'),
        ];
        for (const payload of sent) publish(a, 'a', 'b', payload);
        const received = payloadsOf(await heard.next(sent.length));
        assert.deepEqual(received.slice(0, 4), [null, null, '1970-01-01T00:00:00.000Z', { kept: [null] }]);
        assert.deepEqual(Object.entries(received[4]), [['__proto__', { x: 1 }]]);
      },
    ],
  ];
}

// ---- Misuse ---------------------------------------------------------------------------------------------------------------------

function misuse({ transport }) {
  const reserved = [
    'reserved types throw and reach nobody',
    async ({ a, b }) => {
      const heard = await listen(b, 'done:');
      b.addEventListener('__subscribe:', () => assert.fail('reserved'));
      const event = new CustomEvent('__subscribe:', {
        detail: { type: '__subscribe', id: '', payload: { topic: 'x:y' } },
      });
      assert.throws(() => a.dispatchEvent(event), { code: 'ERR_RESERVED_TYPE' });
      publish(a, 'done', '', null);
      await heard.next();
    },
  ];
  if (!transport) return [reserved];
  return [
    reserved,
    [
      'misuse throws with a code and leaves the link alone',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b');
        const custom = (type, detail) => new CustomEvent(type, { detail });
        const message = 'expected "type:id", got "chat"; for an empty id write "chat:"';
        assert.throws(() => a.dispatchEvent(new Event('chat')), {
          name: 'TypeError',
          code: 'ERR_INVALID_TOPIC',
          message,
        });
        assert.throws(() => a.addEventListener('chat', () => {}), {
          name: 'TypeError',
          code: 'ERR_INVALID_TOPIC',
          message,
        });
        assert.throws(() => a.dispatchEvent(custom('a:b', { type: 'a', id: 'c', payload: 1 })), {
          code: 'ERR_TOPIC_MISMATCH',
        });
        assert.throws(() => a.dispatchEvent(createEvent('a', 'b', 1n)), {
          name: 'TypeError',
          code: 'ERR_NOT_SERIALIZABLE',
        });
        assert.throws(() => a.dispatchEvent(createEvent('a', 'b', () => {})), {
          name: 'TypeError',
          code: 'ERR_NOT_SERIALIZABLE',
        });
        assert.throws(() => a.dispatchEvent(custom('a:\ud800', { type: 'a', id: '\ud800' })), {
          code: 'ERR_INVALID_TOPIC',
        });
        publish(a, 'a', 'b', 'right');
        assert.deepEqual(payloadsOf(await heard.next()), ['right']);
      },
    ],
  ];
}

// ---- Life cycle -----------------------------------------------------------------------------------------------------------------

function lifeCycle({ acknowledges }) {
  return [
    [
      'ready() and ready(topic) say whether the peer acknowledges',
      async ({ b }) => {
        b.addEventListener('a:b', () => {});
        assert.deepEqual(await b.ready(), { acknowledged: acknowledges });
        assert.deepEqual(await b.ready('a:b'), { acknowledged: acknowledges });
        assert.equal(b.state, 'open');
      },
    ],
    [
      'ready(topic) rejects without a listener, and with the reason of an aborted signal',
      async ({ b }) => {
        await assert.rejects(b.ready('a:b'), { code: 'ERR_NOT_SUBSCRIBED' });
        b.addEventListener('a:b', () => {});
        await assert.rejects(b.ready('a:b', { signal: AbortSignal.abort(new Error('mine')) }), { message: 'mine' });
      },
    ],
    [
      'close() is one promise, raises close once and last, and makes every method a no-op',
      async ({ a, b }) => {
        const log = [];
        for (const name of ['open', 'error', 'gap', 'close'])
          b.addEventListener(name, ({ type, detail }) => log.push([type, detail.code]));
        const subscription = createPubSub({ eventTarget: b }).subscribe('a', 'b');
        const pull = subscription.next();
        const closing = b.close({ code: 1000, reason: 'done' });
        assert.equal(b.close(), closing);
        assert(['closing', 'closed'].includes(b.state));
        publish(a, 'a', 'b', 'too late');
        assert.equal(await closing, undefined);
        assert.equal(b.state, 'closed');
        assert.equal((await b.closed).code, 1000);
        assert.deepEqual([log, await pull], [[['close', 1000]], { value: undefined, done: true }]);
        b.addEventListener('a:b', () => assert.fail('closed'));
        b.removeEventListener('a:b', () => {});
        assert.equal(b.dispatchEvent(new Event('not even a topic')), true);
        assert.equal(b.bufferedAmount, 0);
        await Promise.all([b.flush(), b.drain(), b.close(), b[Symbol.asyncDispose]()]);
        await assert.rejects(b.ready(), { code: 'ERR_CLOSED' });
      },
    ],
    [
      'what was dispatched before close() arrives',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b');
        for (let n = 0; n < 1000; n++) publish(a, 'a', 'b', n);
        await a.close();
        if (a === b) return;
        assert.deepEqual(
          payloadsOf(await heard.next(1000)),
          Array.from({ length: 1000 }, (_, n) => n),
        );
      },
    ],
    [
      'flush() and drain() resolve, and what is counted is numbers',
      async ({ a, b }) => {
        const heard = await listen(b, 'a:b');
        for (let n = 0; n < 100; n++) publish(a, 'a', 'b', 'x'.repeat(1000));
        assert(a.bufferedAmount >= 0);
        await a.flush();
        await a.drain();
        await heard.next(100);
        for (const [name, value] of Object.entries(a.stats())) assert.equal(typeof value, 'number', name);
      },
    ],
    [
      'ref() and unref() return the target',
      async ({ a }) => {
        assert.equal(a.unref(), a);
        assert.equal(a.ref(), a);
      },
    ],
  ];
}
