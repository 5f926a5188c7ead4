// What travels in an envelope: bytes that the hub passes on untouched, and how JavaScript values become JSON.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { randomFrom, seedFor } from '../core/random.mjs';
import { BareClient, envelope } from './bare-peers.mjs';
import { Log, listenTo, within } from './facts.mjs';
import { makeHub, makeOpenSpoke } from './targets.mjs';

const MIB = 1 << 20;

const DEPTH = 5000;

/** Payloads as texts: what a parser would change is what the hub must not parse. */
const rawPayloads = {
  null: 'null',
  'big integers': '{"n":123456789012345678901234567890,"m":-9007199254740993}',
  'numbers that no double holds': '[1e400,-1e400,1E+2,0.10,1.0,-0,-0.0,1e-999]',
  escapes: String.raw`"\u0041\/\b\f\n\r\t\\\"\u2028\u00e9\uD83D\uDE00"`,
  'lone surrogate escapes': String.raw`["\ud800","\udc00x","\ude00\ud83d"]`,
  'duplicate keys': '{"a":1,"a":2,"b":{"type":"x","type":"y","payload":1,"payload":2}}',
  'whitespace inside': '{ "a" :\t[ 1 ,\n 2 ]\r\n}',
  'line separators': '"\u2028\u2029"',
  'control characters beyond ASCII': '"\u007f\u0080\u009f\ufeff\uffff"',
  'every plane': '"gr\u00fc\u00df \u4f60\u597d \u{1f600} \u{10ffff}"',
  'a text that looks like an envelope': String.raw`"{\"type\":\"x\",\"id\":\"1\",\"payload\":{}}"`,
  'an object that looks like an envelope': '{"type":"__subscribe","id":"","payload":{"topic":"x:1"}}',
  'keys of the prototype': '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}',
  'keys of a JSON library': '{"$serde_json::private::RawValue":"1","$serde_json::private::Number":"2"}',
  'an empty key': '{"":""}',
  'arrays in arrays': '['.repeat(DEPTH) + ']'.repeat(DEPTH),
  'objects in objects': `${'{"a":'.repeat(DEPTH)}0${'}'.repeat(DEPTH)}`,
};

describe('a payload that the hub relays', () => {
  for (const [name, raw] of Object.entries(rawPayloads)) {
    test(`is byte-identical: ${name}`, async (t) => {
      const hub = await makeHub(t, { relay: true });
      const heard = listenTo(hub, 'p:1');
      const [from, to] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
      await to.subscribe(hub, 'p:1');
      const message = `{"type":"p","id":"1","payload":${raw}}`;
      from.say(message);
      from.ws.send(Buffer.from(message), { binary: true });
      from.say(` {\n"payload" : ${raw} , "id":"\\u0031","type":"\\u0070" }\t`);
      await to.frames.reaches(3);
      assert.deepEqual(to.frames.entries, [message, message, message]);
      // What JavaScript makes of it is JSON.parse's business.
      await heard.reaches(3);
      const isFlat = !raw.startsWith('['.repeat(DEPTH)) && !raw.startsWith('{"a":'.repeat(DEPTH));
      for (const { payload } of heard.entries) {
        // JSON.parse knows no depth, JSON.stringify and assert do.
        if (isFlat) assert.equal(JSON.stringify(payload), JSON.stringify(JSON.parse(raw)));
        else assert.equal(depthOf(payload), DEPTH);
      }
    });
  }

  test('is byte-identical at the largest size, and one byte more ends the link with 1009', async (t) => {
    const hub = await makeHub(t, { relay: true });
    const [from, to] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await to.subscribe(hub, 'p:1');
    const frame = '{"type":"p","id":"1","payload":""}'.length;
    const message = (bytes) =>
      `{"type":"p","id":"1","payload":"${'\u00fc'.repeat((bytes - frame) >> 1)}${'x'.repeat((bytes - frame) & 1)}"}`;
    for (const bytes of [MIB - 1, MIB, 65_535, 65_536, 125, 126]) {
      assert.equal(Buffer.byteLength(message(bytes)), bytes);
      from.say(message(bytes));
    }
    await to.frames.reaches(6);
    assert.deepEqual(
      to.frames.entries.map((text) => Buffer.byteLength(text)),
      [MIB - 1, MIB, 65_535, 65_536, 125, 126],
    );
    assert.ok(to.frames.entries[1] === message(MIB), 'the bytes are the same');
    from.say(message(MIB + 1));
    assert.equal((await within(from.closed, 'the close')).code, 1009);
    assert.equal(to.frames.length, 6);
  });

  test('is byte-identical when random JSON is relayed, dispatched and heard', async (t) => {
    const random = randomFrom(seedFor(t));
    const hub = await makeHub(t, { relay: true });
    const heard = listenTo(hub, 'p:1');
    const [from, to] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await to.subscribe(hub, 'p:1');
    const raws = Array.from({ length: 500 }, () => randomJson(random, 4));
    for (const raw of raws) from.say(`{"type":"p","id":"1","payload":${raw}}`);
    await to.frames.reaches(raws.length);
    await heard.reaches(raws.length);
    assert.deepEqual(
      to.frames.entries,
      raws.map((raw) => `{"type":"p","id":"1","payload":${raw}}`),
    );
    assert.deepEqual(
      heard.entries.map(({ payload }) => payload),
      raws.map((raw) => JSON.parse(raw)),
    );
  });
});

function depthOf(payload) {
  let depth = 0;
  for (let inner = payload; typeof inner === 'object'; inner = Object.values(inner)[0]) depth++;
  return depth;
}

/** A JSON text with odd spacing, odd numbers and odd strings. */
function randomJson(random, depth) {
  const space = () => ['', '', '', ' ', '\n', '\t '][random(6)];
  const string = () => {
    const parts = [
      'a',
      '\u00fc',
      '\u{1f600}',
      '\\u0000',
      '\\ud800',
      '\\"',
      '\\\\',
      '\u2028',
      '\\/',
      '}',
      ']',
      ',',
      '__proto__',
    ];
    return `"${Array.from({ length: random(6) }, () => parts[random(parts.length)]).join('')}"`;
  };
  const list = (item) => Array.from({ length: random(4) }, item).join(`${space()},${space()}`);
  const leaf = ['null', 'true', 'false', '0', '-0', '1e5', '12345678901234567890', '0.1e-7', string(), string()];
  if (depth === 0) return leaf[random(leaf.length)];
  const inner = () => randomJson(random, depth - 1);
  const kinds = [
    () => leaf[random(leaf.length)],
    () => `[${space()}${list(inner)}${space()}]`,
    () => `{${space()}${list(() => `${string()}${space()}:${space()}${inner()}`)}${space()}}`,
  ];
  return kinds[random(kinds.length)]();
}

describe('what dispatchEvent makes of a payload', () => {
  const circle = {};
  circle.self = circle;
  const failing = new Error('toJSON failed');
  const values = {
    undefined: undefined,
    null: null,
    NaN: Number.NaN,
    Infinity: Number.NEGATIVE_INFINITY,
    'minus zero': -0,
    'a large integer': 2 ** 60,
    'a date': new Date(0),
    'an invalid date': new Date(Number.NaN),
    toJSON: { toJSON: () => ({ made: 'by toJSON' }) },
    'toJSON that gives undefined': { toJSON: () => undefined },
    'toJSON of a key': { at: { toJSON: (key) => `under ${key}` } },
    'what JSON leaves out': { a: undefined, b: () => {}, c: Symbol('s'), d: [undefined, () => {}, Symbol('s')] },
    'a hole': Object.assign([], { 0: 1, 2: 2 }),
    boxes: [Object(1), Object('s'), Object(true)],
    'no prototype': Object.assign(Object.create(null), { a: 1 }),
    'a map': new Map([[1, 2]]),
    'typed array': new Uint8Array([1, 2]),
    'half a surrogate pair': ['\ud800', '\udc00', 'x\ud83dy'],
    'text of every kind': '\u0000\u001f"\\/\u007f\u0080\u2028\u2029\ufeff\uffff\u{1f600}',
    'an array as long as text': Array.from({ length: 5000 }, (_, n) => ({ n })),
    'Latin-1': 'gr\u00fc\u00df'.repeat(5000),
    'wide text': '\u4f60\u597d\u{1f600}'.repeat(5000),
    'an accessor': {
      get a() {
        return 'read';
      },
    },
  };
  const refused = {
    'a function': () => {},
    'a class': class {},
    'a symbol': Symbol('s'),
    'a BigInt': 1n,
    'a BigInt inside': { a: [1n] },
    'a cycle': circle,
    'toJSON that throws': {
      toJSON() {
        throw failing;
      },
    },
  };

  async function everyWay(t) {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target) => targets.push(target) });
    const spoke = await makeOpenSpoke(t, hub);
    const atHub = listenTo(hub, 'p:1');
    const atSpoke = listenTo(spoke, 'p:1');
    await spoke.ready('p:1');
    const [target] = await targets.reaches(1);
    return [
      { name: 'spoke to hub', from: spoke, heard: atHub },
      { name: 'hub to spoke', from: hub, heard: atSpoke },
      { name: 'hub to one connection', from: target, heard: atSpoke },
    ];
  }

  test('it travels as JSON.stringify has it, undefined as null', async (t) => {
    for (const { name, from, heard } of await everyWay(t)) {
      const start = heard.length;
      for (const value of Object.values(values)) {
        assert.equal(from.dispatchEvent(createEvent('p', '1', value)), true);
      }
      await heard.reaches(start + Object.keys(values).length);
      for (const [index, [what, value]] of Object.entries(values).entries()) {
        const expected = JSON.parse(JSON.stringify(value) ?? 'null');
        assert.deepEqual(heard.entries[start + index], { type: 'p', id: '1', payload: expected }, `${what}, ${name}`);
      }
    }
  });

  test('what has no JSON form throws ERR_NOT_SERIALIZABLE and nothing is sent', async (t) => {
    for (const { name, from, heard } of await everyWay(t)) {
      const start = heard.length;
      for (const [what, value] of Object.entries(refused)) {
        const dispatch = () => from.dispatchEvent(createEvent('p', '1', value));
        assert.throws(dispatch, { name: 'TypeError', code: 'ERR_NOT_SERIALIZABLE' }, `${what}, ${name}`);
      }
      assert.throws(() => from.dispatchEvent(createEvent('p', '1', refused['toJSON that throws'])), { cause: failing });
      from.dispatchEvent(createEvent('p', '1', 'after'));
      await heard.reaches(start + 1);
      assert.equal(heard.entries[start].payload, 'after', name);
    }
  });

  test('a payload is read when it is dispatched, not later', async (t) => {
    for (const { from, heard } of await everyWay(t)) {
      const start = heard.length;
      const payload = { n: 1 };
      from.dispatchEvent(createEvent('p', '1', payload));
      payload.n = 2;
      await heard.reaches(start + 1);
      assert.deepEqual(heard.entries[start].payload, { n: 1 });
    }
  });

  test('a toJSON that dispatches on the same target disturbs nothing', async (t) => {
    for (const { from, heard } of await everyWay(t)) {
      const start = heard.length;
      const nested = (depth) => ({
        toJSON() {
          if (depth > 0) from.dispatchEvent(createEvent('p', '1', nested(depth - 1)));
          return `depth ${depth} ${'x'.repeat(depth * 3000)}`;
        },
      });
      from.dispatchEvent(createEvent('p', '1', nested(3)));
      await heard.reaches(start + 4);
      const depths = heard.entries.slice(start).map(({ payload }) => payload.slice(0, 7));
      assert.deepEqual(depths, ['depth 0', 'depth 1', 'depth 2', 'depth 3']);
    }
  });

  test('an event as large as allowed travels, one byte more throws ERR_MESSAGE_TOO_LARGE, in bytes and not in characters', async (t) => {
    const limits = { maxMessageBytes: 1000 };
    const hub = await makeHub(t, { limits, onConnection: () => {} });
    const spoke = await makeOpenSpoke(t, hub, { limits });
    const [atHub, atSpoke] = [listenTo(hub, 'p:1'), listenTo(spoke, 'p:1')];
    await spoke.ready('p:1');
    const room = 1000 - Buffer.byteLength(envelope('p', '1', ''));
    const fitting = ['x'.repeat(room), '\u00fc'.repeat(room / 2), '\u4f60'.repeat(room / 3)];
    const ways = [
      { from: spoke, heard: atHub },
      { from: hub, heard: atSpoke },
    ];
    for (const { from, heard } of ways) {
      for (const text of fitting) {
        const padded = text + 'x'.repeat(room - Buffer.byteLength(text));
        from.dispatchEvent(createEvent('p', '1', padded));
        const tooLarge = () => from.dispatchEvent(createEvent('p', '1', `${padded}x`));
        assert.throws(tooLarge, { code: 'ERR_MESSAGE_TOO_LARGE' });
      }
      await heard.reaches(3);
      assert.ok(heard.entries.every(({ payload }) => Buffer.byteLength(payload) === room));
      assert.equal(heard.length, 3);
    }
    assert.equal(spoke.stats().connects, 1);
  });

  test('the same holds for the target of one connection', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { limits: { maxMessageBytes: 1000 }, onConnection: (target) => targets.push(target) });
    const bare = await BareClient.to(t, hub);
    const [target] = await targets.reaches(1);
    const room = 1000 - Buffer.byteLength(envelope('p', '1', ''));
    assert.throws(() => target.dispatchEvent(createEvent('p', '1', 'x'.repeat(room + 1))), {
      code: 'ERR_MESSAGE_TOO_LARGE',
    });
    target.dispatchEvent(createEvent('p', '1', 'x'.repeat(room)));
    await bare.frames.reaches(1);
    assert.equal(bare.frames.entries[0].length, 1000);
  });
});
