// What may not reach a subscriber: what is malformed, extra keys, and names that objects inherit.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { BareClient, envelope } from './bare-peers.mjs';
import { eventually, Log, listenTo, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

const DEPTH = 5000;

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
