// What payloads become on their way.
import assert from 'node:assert/strict';
import { listen, payloadsOf, publish } from './words.mjs';

export function payloads({ transport, small = false }) {
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
