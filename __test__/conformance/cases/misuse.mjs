// What throws, and what does not.
import assert from 'node:assert/strict';
import { createEvent } from '../../../dist/index.js';
import { listen, payloadsOf, publish } from './words.mjs';

export function misuse({ transport }) {
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
