// What travels in an envelope: bytes that the hub passes on untouched, names of every kind, what may not reach a subscriber, and how
// JavaScript values become JSON.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent, createPubSub } from '@alkdev/pubsub-native';
import { randomFrom, seedFor } from '../core/random.mjs';
import { BareClient, envelope } from './bare-peers.mjs';
import { eventually, Log, listenTo, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

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

describe('what never reaches a subscriber', () => {
  const legal = '{"type":"p","id":"1","payload":1}';

  test('extra keys, an origin of one, and what stands where in the message', async (t) => {
    const hub = await makeHub(t, { relay: true });
    const heard = listenTo(hub, 'p:1');
    const [from, to] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await to.subscribe(hub, 'p:1');
    const messages = [
      '{"type":"p","id":"1","payload":1,"_o":"forged"}',
      '{"_o":"forged","_credit":9,"type":"p","id":"1","payload":1}',
      '{"type":"p","extra":{"type":"q","id":"2","payload":2},"id":"1","payload":1}',
      '{"type":"p","id":"1","payload":1,"__proto__":{"polluted":true}}',
      '{"type":"p","id":"1","payload":1,"Type":"q","ID":"2","":3,"extra":1,"extra":2}',
      `{"extra":${'['.repeat(DEPTH)}${']'.repeat(DEPTH)},"type":"p","id":"1","payload":1}`,
      '{"$serde_json::private::RawValue":"9","type":"p","id":"1","payload":1}',
    ];
    for (const message of messages) from.say(message);
    await to.frames.reaches(messages.length);
    await heard.reaches(messages.length);
    for (const frame of to.frames.entries) assert.equal(frame, legal);
    for (const detail of heard.entries) assert.deepEqual(detail, { type: 'p', id: '1', payload: 1 });
    assert.equal(Object.prototype.polluted, undefined);
  });

  test('a missing payload is null', async (t) => {
    const hub = await makeHub(t, { relay: true });
    const heard = listenTo(hub, 'p:1');
    const [from, to] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await to.subscribe(hub, 'p:1');
    from.say('{"type":"p","id":"1"}');
    await to.frames.reaches(1);
    await heard.reaches(1);
    assert.deepEqual(to.frames.entries, ['{"type":"p","id":"1","payload":null}']);
    assert.deepEqual(heard.entries, [{ type: 'p', id: '1', payload: null }]);
  });

  test('malformed messages: each is counted and skipped, the link stays', async (t) => {
    const malformed = [
      // Keys that come twice, also when one of them is spelt with escapes.
      '{"type":"p","id":"1","payload":1,"type":"p"}',
      '{"type":"p","id":"1","payload":1,"\\u0074ype":"q"}',
      '{"type":"p","id":"1","id":"2","payload":1}',
      '{"type":"p","id":"1","payload":1,"payload":2}',
      '{"type":"p","id":"1","payload":1,"p\\u0061yload":2}',
      '{"payload":1,"type":"p","id":"1","payload":null}',
      // A payload that closes the envelope.
      '{"type":"p","id":"1","payload":1},"payload":2}',
      '{"type":"p","id":"1","payload":1}{"type":"p","id":"1","payload":2}',
      '{"type":"p","id":"1","payload":1} x',
      '{"type":"p","id":"1","payload":1}}',
      '{"type":"p","id":"1","payload":1}\u0000',
      '{"type":"p","id":"1","payload":1 2}',
      '{"type":"p","id":"1","payload":}',
      '{"type":"p","id":"1","payload":]}',
      '{"type":"p","id":"1","payload":{}',
      // Not JSON, though some readers take it.
      '',
      ' ',
      'null',
      'p:1',
      '\ufeff{"type":"p","id":"1","payload":1}',
      "{'type':'p','id':'1','payload':1}",
      '{"type":"p","id":"1","payload":1,}',
      '{"type":"p","id":"1","payload":[1,]}',
      '{"type":"p","id":"1","payload":NaN}',
      '{"type":"p","id":"1","payload":01}',
      '{"type":"p","id":"1","payload":+1}',
      '{"type":"p","id":"1","payload":.5}',
      '{"type":"p","id":"1","payload":1.}',
      '{"type":"p","id":"1","payload":"\n"}',
      '{"type":"p","id":"1","payload":"\\x"}',
      '{"type":"p","id":"1","payload":"\\u12"}',
      '{"type":"p","id":"1","payload":1}//',
      // JSON, but no envelope.
      '["p","1",1]',
      '[{"type":"p","id":"1","payload":1}]',
      '"p:1"',
      '{}',
      '{"type":"p","payload":1}',
      '{"id":"1","payload":1}',
      '{"type":"p","id":null,"payload":1}',
      '{"type":null,"id":"1","payload":1}',
      '{"type":"p","id":1,"payload":1}',
      '{"type":["p"],"id":"1","payload":1}',
      '{"type":{"0":"p"},"id":"1","payload":1}',
      '{"type":true,"id":"1","payload":1}',
      '{"type":"","id":"1","payload":1}',
      '{"type":"\\ud800","id":"1","payload":1}',
      '{"type":"p","id":"\\udc00","payload":1}',
    ];
    const hub = await makeHub(t, { relay: true, limits: { maxMalformed: malformed.length + 10 } });
    const errors = new Log();
    hub.addEventListener('error', ({ detail }) => errors.push(detail));
    const heard = listenTo(hub, 'p:1', '\ufffd:1', 'p:\ufffd', 'p:2', 'q:1');
    const [from, to] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await to.subscribe(hub, 'p:1', ':1', '\ufffd:1', 'p:\ufffd', 'p:2', 'q:1');
    for (const [index, message] of malformed.entries()) {
      const before = hub.stats().malformed;
      from.say(message);
      from.publish('p', '1', index);
      await to.frames.reaches(index + 1);
      assert.equal(hub.stats().malformed, before + 1, `this is malformed: ${message}`);
    }
    from.ws.send(Buffer.from([0xff, 0xfe, 0x22]), { binary: true });
    from.publish('p', '1', 'last');
    await to.frames.reaches(malformed.length + 1);
    await heard.reaches(malformed.length + 1);

    const numbers = [...malformed.keys(), 'last'];
    assert.deepEqual(
      to.frames.entries,
      numbers.map((n) => envelope('p', '1', n)),
    );
    assert.deepEqual(
      heard.entries.map(({ payload }) => payload),
      numbers,
    );
    assert.equal(hub.stats().malformed, malformed.length + 1);
    await eventually(
      () => total(errors.entries) === malformed.length + 1,
      'every one is reported or merged into a report',
    );
    assert.ok(errors.entries.every(({ code }) => code === 'ERR_MALFORMED'));
  });

  test('more malformed messages in a minute than allowed end the link with 1008, and no other', async (t) => {
    const hub = await makeHub(t, { limits: { maxMalformed: 3 } });
    hub.addEventListener('error', () => {});
    const heard = listenTo(hub, 'p:1');
    const [bad, good] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    for (let n = 0; n < 3; n++) bad.say('bad');
    bad.publish('p', '1', 'still there');
    await heard.reaches(1);
    bad.say('bad');
    assert.equal((await within(bad.closed, 'the close')).code, 1008);
    good.publish('p', '1', 'good');
    await heard.reaches(2);
  });

  test('text that is not UTF-8 ends the link with 1007', async (t) => {
    const hub = await makeHub(t);
    hub.addEventListener('error', () => {});
    const bare = await BareClient.to(t, hub);
    bare.ws.send(Buffer.from([0x22, 0xff, 0x22]), { binary: false });
    assert.equal((await within(bare.closed, 'the close')).code, 1007);
  });

  test('the messages of a hub are judged the same by our spoke', async (t) => {
    const hub = await makeHub(t, {
      onConnection: (target) => {
        target.dispatchEvent(createEvent('p', '1', 'to nobody'));
        target.dispatchEvent(createEvent('p', '2', { __proto__: null, a: 1 }));
      },
    });
    const spoke = makeSpoke(t, hub);
    const heard = listenTo(spoke, 'p:2');
    await heard.reaches(1);
    assert.deepEqual(heard.entries, [{ type: 'p', id: '2', payload: { a: 1 } }]);
  });
});

/** Reported errors and those merged into them. */
function total(errors) {
  return errors.reduce((sum, { dropped }) => sum + dropped, 0);
}

describe('names that objects inherit', () => {
  const names = ['constructor', 'toString', 'hasOwnProperty', '__defineGetter__x', 'valueOf', 'prototype'].map((name) =>
    name.replace(/^__/, ''),
  );
  const prototypes = () =>
    [Object.prototype, Array.prototype, Function.prototype, String.prototype, EventTarget.prototype, Map.prototype].map(
      (prototype) => Reflect.ownKeys(prototype).map((key) => [key, Reflect.getOwnPropertyDescriptor(prototype, key)]),
    );

  test('as type, id and key they are names like others, and no prototype is touched', async (t) => {
    const before = prototypes();
    const hub = await makeHub(t, { relay: true });
    const spoke = await makeOpenSpoke(t, hub);
    const bare = await BareClient.to(t, hub);
    const pairs = names.flatMap((type) => ['__proto__', 'constructor', ''].map((id) => [type, id]));
    const topics = pairs.map(([type, id]) => `${type}:${id}`);
    const [atHub, atSpoke] = [listenTo(hub, ...topics), listenTo(spoke, ...topics)];
    await Promise.all(topics.map((topic) => spoke.ready(topic)));
    const payload = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":2}},"toString":3}';
    for (const [type, id] of pairs) bare.say(`{"type":"${type}","id":"${id}","payload":${payload}}`);
    await atHub.reaches(pairs.length);
    await atSpoke.reaches(pairs.length);
    for (const log of [atHub, atSpoke]) {
      assert.deepEqual(
        log.entries.map(({ type, id }) => [type, id]),
        pairs,
      );
      for (const { payload: heard } of log.entries) {
        assert.equal(Object.getPrototypeOf(heard), Object.prototype);
        assert.equal(JSON.stringify(heard), payload);
      }
    }
    for (const [type, id] of pairs) hub.dispatchEvent(createEvent(type, id, JSON.parse(payload)));
    await atSpoke.reaches(2 * pairs.length);
    assert.deepEqual(atSpoke.entries.slice(pairs.length), atSpoke.entries.slice(0, pairs.length));
    assert.deepEqual(prototypes(), before);
    assert.equal({}.polluted, undefined);
  });

  test('the type __proto__ is reserved like all that begin with two underscores', async (t) => {
    const hub = await makeHub(t, { relay: true });
    const heard = listenTo(hub, '__proto__:1', 'p:1');
    const bare = await BareClient.to(t, hub);
    bare.say('{"type":"__proto__","id":"1","payload":{"polluted":1}}');
    bare.say('{"__proto__":{"type":"p","id":"1","payload":2},"type":"p","id":"1","payload":1}');
    await heard.reaches(1);
    assert.deepEqual(heard.entries, [{ type: 'p', id: '1', payload: 1 }]);
    assert.throws(() => createEvent('__proto__', '1', 1), { code: 'ERR_RESERVED_TYPE' });
    const detail = { type: '__proto__', id: '1', payload: 1 };
    assert.throws(() => hub.dispatchEvent(new CustomEvent('__proto__:1', { detail })), { code: 'ERR_RESERVED_TYPE' });
  });

  test('a header called __proto__ is a header', async (t) => {
    const hub = await makeHub(t);
    const connections = new Log();
    hub.addEventListener('connection', ({ detail }) => connections.push(detail.connection));
    await BareClient.to(t, hub, { headers: JSON.parse('{"__proto__":"a","constructor":"b"}') });
    await connections.reaches(1);
    const { headers } = connections.entries[0];
    assert.equal(Object.getOwnPropertyDescriptor(headers, '__proto__').value, 'a');
    assert.equal(headers.constructor, 'b');
    assert.equal(Object.getPrototypeOf(headers), null);
  });
});

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

describe('types and ids', () => {
  const odd = [
    ['chat.msg', 'r1'],
    ['a', ''],
    ['a', ':'],
    ['a:', ''],
    ['a', 'b:c'],
    ['a:b', 'c'],
    ['a:b:c', ''],
    ['::', '::'].map((text, index) => (index === 0 ? `x${text}` : text)),
    ['"', '\\"'],
    ['{"type":"x"}', '","payload":1,"x":"'],
    ['\\', '\\\\'],
    ['\u0000', '\u0001\u001f\u007f'],
    ['\n\r\t\b\f', ' '],
    ['\u2028', '\u2029'],
    ['gr\u00fc\u00df', '\u4f60\u597d'],
    ['\u{1f600}', '\u{10ffff}\uffff\ufeff'],
    ['e\u0301', '\u00e9'],
    ['_', '__'],
    ['_a', '__subscribe'],
    ['open', ''],
    ['null', 'undefined'],
    ['x'.repeat(1000), 'y'.repeat(23)],
  ];

  test('of every kind arrive as they are, both ways and relayed', async (t) => {
    const hub = await makeHub(t, { relay: true });
    const [one, two] = [await makeOpenSpoke(t, hub), await makeOpenSpoke(t, hub)];
    const bare = await BareClient.to(t, hub);
    const topics = [...new Set(odd.map(([type, id]) => `${type}:${id}`))];
    const logs = [listenTo(hub, ...topics), listenTo(two, ...topics)];
    await Promise.all(topics.map((topic) => two.ready(topic)));
    await bare.subscribe(hub, ...topics);
    const all = odd.map(([type, id], payload) => ({ type, id, payload }));
    // Three times: as a pair that is new, that is known, and that is named.
    for (let round = 0; round < 3; round++)
      for (const { type, id, payload } of all) one.dispatchEvent(createEvent(type, id, payload));
    const thrice = [...all, ...all, ...all];
    for (const log of logs) assert.deepEqual(await log.reaches(thrice.length), thrice);
    await bare.frames.reaches(thrice.length);
    assert.deepEqual(
      bare.frames.entries,
      thrice.map(({ type, id, payload }) => envelope(type, id, payload)),
    );
    for (let round = 0; round < 3; round++)
      for (const { type, id, payload } of all) hub.dispatchEvent(createEvent(type, id, payload));
    assert.deepEqual(await logs[1].reaches(2 * thrice.length), [...thrice, ...thrice]);
    await bare.frames.reaches(2 * thrice.length);
    assert.deepEqual(bare.frames.entries.slice(thrice.length), bare.frames.entries.slice(0, thrice.length));
  });

  test('("a","b:c") and ("a:b","c") share a topic and stay apart', async (t) => {
    const hub = await makeHub(t, { relay: true });
    const [one, two] = [await makeOpenSpoke(t, hub), await makeOpenSpoke(t, hub)];
    const both = listenTo(two, 'a:b:c');
    const pubsub = createPubSub({ eventTarget: two });
    const left = pubsub.subscribe('a', 'b:c');
    const right = pubsub.subscribe('a:b', 'c');
    await two.ready('a:b:c');
    const sent = Array.from({ length: 100 }, (_, n) => (n % 3 === 0 ? ['a', 'b:c', n] : ['a:b', 'c', n]));
    for (const [type, id, payload] of sent) one.dispatchEvent(createEvent(type, id, payload));
    await both.reaches(sent.length);
    assert.deepEqual(
      both.entries.map(({ type, id, payload }) => [type, id, payload]),
      sent,
    );
    const take = async (subscription, type) => {
      const expected = sent.filter(([sentType]) => sentType === type);
      const taken = [];
      for await (const envelopeOf of subscription) {
        taken.push([envelopeOf.type, envelopeOf.id, envelopeOf.payload]);
        if (taken.length === expected.length) break;
      }
      assert.deepEqual(taken, expected);
    };
    await within(Promise.all([take(left, 'a'), take(right, 'a:b')]), 'both subscriptions');
    await pubsub.close();
  });

  test('misuse throws where it happens', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    const event = (name, type, id) => new CustomEvent(name, { detail: { type, id, payload: 1 } });
    for (const target of [hub, spoke]) {
      const cases = [
        [() => target.addEventListener('chat', () => {}), 'ERR_INVALID_TOPIC'],
        [() => target.addEventListener('', () => {}), 'ERR_INVALID_TOPIC'],
        [() => target.addEventListener(':id', () => {}), 'ERR_INVALID_TOPIC'],
        [() => target.addEventListener('a:\ud800', () => {}), 'ERR_INVALID_TOPIC'],
        [() => target.dispatchEvent(event('a:\ud800', 'a', '\ud800')), 'ERR_INVALID_TOPIC'],
        [() => target.dispatchEvent(event(':1', '', '1')), 'ERR_INVALID_TOPIC'],
        [() => target.dispatchEvent(event('chat', 'chat', '')), 'ERR_INVALID_TOPIC'],
        [() => target.dispatchEvent(event('a:2', 'a', '1')), 'ERR_TOPIC_MISMATCH'],
        [() => target.dispatchEvent(event('a:1', 'a', 1)), 'ERR_TOPIC_MISMATCH'],
        [() => target.dispatchEvent(new CustomEvent('a:1')), 'ERR_TOPIC_MISMATCH'],
        [() => target.dispatchEvent(new Event('a:1')), 'ERR_TOPIC_MISMATCH'],
        [() => target.dispatchEvent(event('__a:1', '__a', '1')), 'ERR_RESERVED_TYPE'],
        [() => target.dispatchEvent(event('__subscribe:', '__subscribe', '')), 'ERR_RESERVED_TYPE'],
      ];
      for (const [misuse, code] of cases) assert.throws(misuse, { code }, String(misuse));
    }
  });

  test('a topic longer than the hub allows is refused, and the spoke says so', async (t) => {
    const hub = await makeHub(t, { limits: { maxTopicBytes: 20 } });
    hub.addEventListener('error', () => {});
    const spoke = await makeOpenSpoke(t, hub);
    spoke.addEventListener('error', () => {});
    for (const [bytes, isAllowed] of [
      [20, true],
      [21, false],
    ]) {
      const topic = `t:${'\u00fc'.repeat(9)}${'x'.repeat(bytes - 20)}`;
      assert.equal(Buffer.byteLength(topic), bytes);
      spoke.addEventListener(topic, () => {});
      if (isAllowed) assert.deepEqual(await within(spoke.ready(topic), 'an answer'), { acknowledged: true });
      else await assert.rejects(within(spoke.ready(topic), 'an answer'), { code: 'ERR_LIMIT' });
    }
  });
});

describe('more pairs than are remembered', () => {
  const COUNT = 6000;
  /** Pairs that are easily mixed up: shared topics, shared concatenations, shared prefixes. */
  const pairs = Array.from({ length: COUNT }, (_, n) => {
    if (n % 4 === 0) return ['a', `b:${n}`];
    if (n % 4 === 1) return ['a:b', `${n - 1}`];
    if (n % 4 === 2) return ['ab', `${n}`];
    return ['a', `b${n - 1}`];
  });
  const topics = [...new Set(pairs.map(([type, id]) => `${type}:${id}`))];

  async function rounds(t, from, heard) {
    const random = randomFrom(seedFor(t));
    const order = [
      ...pairs.keys(),
      ...pairs.keys(),
      ...Array.from({ length: COUNT }, () => random(COUNT)),
      ...pairs.keys(),
    ];
    // A few that come again and again among the many, so that some are named while others go.
    const sent = order.flatMap((pair, n) => (n % 5 === 0 ? [pair, n % 64] : [pair])).map((pair, n) => ({ pair, n }));
    for (const { pair, n } of sent) {
      const [type, id] = pairs[pair];
      from.dispatchEvent(createEvent(type, id, { n, pair }));
      if (n % 5000 === 0) await from.flush();
    }
    await heard.reaches(sent.length);
    assert.equal(heard.length, sent.length);
    for (const [index, { pair, n }] of sent.entries()) {
      const [type, id] = pairs[pair];
      const entry = heard.entries[index];
      const isRight = entry.type === type && entry.id === id && entry.payload.n === n && entry.payload.pair === pair;
      if (!isRight) assert.deepEqual(entry, { type, id, payload: { n, pair } }, `event ${index}`);
    }
  }

  test('every event of a hub arrives with its own type, id and payload', async (t) => {
    const hub = await makeHub(t, { maxBufferedAmount: 64 * MIB });
    const spoke = await makeOpenSpoke(t, hub);
    const heard = listenTo(spoke, ...topics);
    await Promise.all(topics.map((topic) => spoke.ready(topic)));
    await rounds(t, hub, heard);
  });

  test('every event of a spoke arrives with its own type, id and payload', async (t) => {
    const hub = await makeHub(t);
    const heard = listenTo(hub, ...topics);
    const spoke = await makeOpenSpoke(t, hub);
    await rounds(t, spoke, heard);
  });
});
