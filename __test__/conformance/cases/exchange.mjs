// Events from one to the other: order, both ways, who hears whom.
import assert from 'node:assert/strict';
import { listen, payloadsOf, publish } from './words.mjs';

export function exchange({ echo }) {
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
