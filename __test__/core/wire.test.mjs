// What plain TypeScript takes for an envelope. The engine's reader has the same rules: contract section 1, docs/protocol.md.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLonger, readEnvelope } from '../../dist/wire.js';
import { randomFrom, seedFor } from './random.mjs';

const bytes = (text) => new TextEncoder().encode(text);

test('any JSON text with the three keys is an envelope: in any order, with white space, with others, without a payload', () => {
  const expected = { type: 'a', id: 'b:"', payload: { n: [1, { type: 'x', id: 2 }] } };
  for (const text of [
    '{"type":"a","id":"b:\\"","payload":{"n":[1,{"type":"x","id":2}]}}',
    ' {\n"payload" : {"n":[1,{"type":"x","id":2}]}, "_o":"z", "id":"b:\\u0022","type":"\\u0061"}\t',
    '{"type":"a","id":"b:\\"","payload":{"n":[1,{"type":"x","id":2}]},"more":{"type":1}}',
    '{"type":"a","id":"b:\\"","payload":{"n":[1,{"type":"x","id":2}]} }',
  ]) {
    assert.deepEqual(readEnvelope(text), expected, text);
    assert.deepEqual(readEnvelope(bytes(text)), expected);
    assert.deepEqual(readEnvelope(bytes(text).buffer), expected);
  }
  assert.deepEqual(readEnvelope('{"id":"","type":"a"}'), { type: 'a', id: '', payload: null });
});

test('a second type, id or payload is malformed, in whatever way the key is written', () => {
  for (const text of [
    '{"type":"a","id":"b","payload":1,"payload":2}',
    '{"type":"a","id":"b","payload":{"a":1},"payload":{}}',
    '{"type":"a","type":"a","id":"b","payload":1}',
    '{"type":"a","id":"b","id":"c"}',
    '{"type":"a","id":"b","payload":1,"\\u0074ype":"c"}',
    '{"id":"b","payload":"}{\\"","type":"a","payload":null}',
  ])
    assert.equal(readEnvelope(text), undefined, text);
  // Twice elsewhere is the payload's business, or nobody's.
  assert.deepEqual(readEnvelope('{"x":1,"x":2,"type":"a","id":"b","payload":{"id":1,"id":2}}').payload, { id: 2 });
  assert.equal(readEnvelope('{"type":"a","id":"b","payload":":\\"type\\":"}').payload, ':"type":');
});

test('what is no JSON, no object, or has no proper type and id is malformed', () => {
  for (const text of [
    ...['', '{', '5', 'null', '[]', '{}', '"a"', '{"type":"a"}', '{"type":1,"id":"b"}', '{"type":"","id":"b"}'],
    ...['{"type":"a","id":"b","payload":}', '{"type":"a","id":"b","payload":1}}', '{"type":"a","id":"b","payload":{}'],
    ...[
      '{"type":"a\n","id":"b","payload":1}',
      '{"type":"","id":"b","payload":1}',
      '{"type":"a","id":"b","payload":1,}',
    ],
  ])
    assert.equal(readEnvelope(text), undefined, text);
  for (const message of [undefined, 5, {}, new Uint8Array([0xff])]) assert.equal(readEnvelope(message), undefined);
});

test('random texts of envelopes are read as JSON.parse reads them, unless a key is there twice', (t) => {
  const random = randomFrom(seedFor(t));
  const values = ['1', '"a"', '"\\"}"', '{"type":"x","id":{"payload":1}}', '[{"id":1},":{"]', 'null', '"\\\\"', '""'];
  let malformed = 0;
  for (let round = 0; round < 5000; round++) {
    const names = ['"type"', '"id"', '"payload"', '"other"', '"\\u0069d"'].filter(() => random(3) > 0);
    const pairs = names.map((name) => `${name}${' '.repeat(random(2))}:${values[random(values.length)]}`);
    const text = `{${pairs.sort(() => random(3) - 1).join(random(2) ? ',' : ' ,')}}`;
    const { type, id, payload = null } = JSON.parse(text);
    const isRight = typeof type === 'string' && type !== '' && typeof id === 'string';
    const isTwice = names.includes('"id"') && names.includes('"\\u0069d"');
    const expected = isRight && !isTwice ? { type, id, payload } : undefined;
    assert.deepEqual(readEnvelope(text), expected, text);
    malformed += expected === undefined;
  }
  assert(malformed > 100 && malformed < 4900);
});

test('long strings are read without a long way', () => {
  const long = '\\"x'.repeat(300_000);
  assert.equal(readEnvelope(`{"type":"a","id":"${long}","payload":1}`).id.length, 600_000);
  assert.equal(readEnvelope(`{"id":"${long}","type":"a"}`).id.length, 600_000);
  assert.equal(readEnvelope(`{"id":"${long}`), undefined);
});

test('lengths are counted in bytes of UTF-8', () => {
  for (const [text, length] of [
    ['', 0],
    ['abc', 3],
    ['żó', 4],
    ['日本', 6],
    ['😀', 4],
  ]) {
    assert.equal(isLonger(text, length), false, text);
    if (length > 0) assert.equal(isLonger(text, length - 1), true, text);
  }
});
