// The life cycle of a target: ready, close, what ends with it.
import assert from 'node:assert/strict';
import { createPubSub } from '../../../dist/index.js';
import { listen, payloadsOf, publish } from './words.mjs';

export function lifeCycle({ acknowledges }) {
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
