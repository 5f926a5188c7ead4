// Types and ids of every kind, and more pairs of them than are remembered.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent, createPubSub } from '@alkdev/pubsub-native';
import { randomFrom, seedFor } from '../core/random.mjs';
import { BareClient, envelope } from './bare-peers.mjs';
import { listenTo, within } from './facts.mjs';
import { makeHub, makeOpenSpoke } from './targets.mjs';

const MIB = 1 << 20;

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
