// Topics and listeners: what matches, who is called, what is told to the other side.
import assert from 'node:assert/strict';
import { createPubSub } from '../../../dist/index.js';
import { checkIdleReaders } from '../idle-readers.mjs';
import { uncaughtDuring } from '../uncaught.mjs';
import { listen, payloadsOf, publish } from './words.mjs';

export function listening() {
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
