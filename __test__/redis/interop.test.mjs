// Clients of other libraries that follow the same rule: channel = prefix + topic, message = envelope as JSON. Both ways.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createClient } from 'redis';
import { eventually, Log, listenTo } from '../websocket/facts.mjs';
import { makeTarget, publish, watch } from './facts.mjs';
import { startRedis, withoutRedis } from './server.mjs';

const COUNT = 1000;
const payloads = Array.from({ length: COUNT }, (_, n) => ({ n, text: n % 7 === 0 ? 'ünï "q" \\ \n' : 'plain' }));
const envelopes = payloads.map((payload) => ({ type: 'chat.msg', id: 'r:1', payload }));

/** The same few words for both libraries. */
const libraries = {
  ioredis: async (_, server) => {
    const [publisher, subscriber] = [server.client(), server.client()];
    const subscribe = async (channel, hear) => {
      subscriber.on('message', (from, message) => from === channel && hear(message));
      await subscriber.subscribe(channel);
    };
    return { publish: (channel, message) => publisher.publish(channel, message), subscribe };
  },
  'node-redis': async (t, server) => {
    const clients = [createClient({ url: server.url }), createClient({ url: server.url })];
    for (const client of clients) await client.on('error', () => {}).connect();
    t.after(() => clients.map((client) => client.destroy()));
    const [publisher, subscriber] = clients;
    return {
      publish: (channel, message) => publisher.publish(channel, message),
      subscribe: (channel, hear) => subscriber.subscribe(channel, hear),
    };
  },
};

describe('interoperates', { skip: withoutRedis, concurrency: 1 }, () => {
  for (const [name, connect] of Object.entries(libraries)) {
    test(`with ${name} as publisher: everything is heard, in order`, async (t) => {
      const server = await startRedis(t);
      const client = await connect(t, server);
      const target = makeTarget(t, server, { prefix: 'app:' });
      const heard = listenTo(target, 'chat.msg:r:1');
      await target.ready('chat.msg:r:1');
      for (const envelope of envelopes) void client.publish('app:chat.msg:r:1', JSON.stringify(envelope));
      await heard.reaches(COUNT);
      assert.deepEqual(heard.entries, envelopes);
    });

    test(`with ${name} as subscriber: everything is heard, in order, as compact envelopes`, async (t) => {
      const server = await startRedis(t);
      const client = await connect(t, server);
      const heard = new Log();
      await client.subscribe('app:chat.msg:r:1', (message) => heard.push(message));
      const target = makeTarget(t, server, { prefix: 'app:' });
      await target.ready();
      for (const payload of payloads) publish(target, 'chat.msg', 'r:1', payload);
      await heard.reaches(COUNT);
      assert.deepEqual(
        heard.entries,
        envelopes.map((envelope) => JSON.stringify(envelope)),
      );
    });

    test(`with ${name}: a target without echo marks what it publishes, which others read as before`, async (t) => {
      const server = await startRedis(t);
      const client = await connect(t, server);
      const heard = new Log();
      await client.subscribe('a:', (message) => heard.push(JSON.parse(message)));
      const target = makeTarget(t, server, { echo: false });
      const own = listenTo(target, 'a:');
      await target.ready('a:');
      publish(target, 'a', '', 1);
      await heard.reaches(1);
      const [{ _o: origin, ...envelope }] = heard.entries;
      assert.deepEqual(envelope, { type: 'a', id: '', payload: 1 });
      assert.match(origin, /^[0-9a-f-]{36}$/);
      await client.publish('a:', JSON.stringify({ ...envelope, payload: 2 }));
      await own.reaches(1);
      assert.deepEqual(own.entries, [{ type: 'a', id: '', payload: 2 }]);
    });
  }

  test('any key order, white space, extra keys and a missing payload are read', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server);
    const heard = listenTo(target, 'a:b');
    await target.ready('a:b');
    const client = server.client();
    await client.publish('a:b', ' {"payload" : [1], "x":{"type":"z"}, "id":"b","type":"a"} ');
    await client.publish('a:b', '{"type":"a","id":"b"}');
    await heard.reaches(2);
    assert.deepEqual(heard.entries, [
      { type: 'a', id: 'b', payload: [1] },
      { type: 'a', id: 'b', payload: null },
    ]);
  });

  test('what is no envelope of its channel is counted, reported and skipped, and the connection stays', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server, { limits: { maxMessageBytes: 1000 } });
    const { all } = watch(target);
    const heard = listenTo(target, 'a:b', 'c:d');
    await Promise.all([target.ready('a:b'), target.ready('c:d')]);
    const wrong = [
      'no JSON',
      '{"type":"a","id":"b","payload":',
      '[]',
      '{"type":"a","type":"a","id":"b","payload":1}',
      '{"type":"c","id":"d","payload":"of another channel"}',
      '{"type":"__subscribed","id":"","payload":{"topic":"a:b","n":1}}',
      Buffer.from([0x7b, 0xff, 0x7d]),
      JSON.stringify({ type: 'a', id: 'b', payload: 'x'.repeat(1000) }),
      JSON.stringify({ type: 'a', id: 'b', payload: 'x'.repeat(200_000) }),
    ];
    const client = server.client();
    for (let round = 0; round < 30; round++) for (const message of wrong) void client.publish('a:b', message);
    const legal = { type: 'a', id: 'b', payload: 'x'.repeat(1000 - 34) };
    assert.equal(JSON.stringify(legal).length, 1000, 'at the limit');
    await client.publish('a:b', JSON.stringify(legal));
    await heard.reaches(1);
    assert.deepEqual(heard.entries, [legal]);
    const { malformed, connects } = target.stats();
    assert.deepEqual([malformed, connects], [30 * wrong.length, 1]);
    await eventually(() => all('error').length > 0, 'an error event');
    assert.ok(all('error').every(({ code }) => code === 'ERR_MALFORMED'));
  });

  test('one SUBSCRIBE per topic however many listeners, one UNSUBSCRIBE at the end, and what comes after it is dropped', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server);
    const { all } = watch(target);
    const listeners = Array.from({ length: 10 }, () => () => {});
    for (const listener of listeners) target.addEventListener('a:b', listener);
    await target.ready('a:b');
    for (const listener of listeners.slice(1)) target.removeEventListener('a:b', listener);
    const count = async (command) => {
      const text = await server.command('INFO', 'commandstats');
      return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(text)?.[1] ?? 0);
    };
    assert.equal(await count('subscribe'), 1);
    target.removeEventListener('a:b', listeners[0]);
    publish(target, 'a', 'b', 'too late');
    await eventually(async () => (await count('unsubscribe')) === 1, 'one UNSUBSCRIBE');
    assert.equal(await server.command('PUBLISH', 'a:b', '{}'), 0);
    assert.deepEqual(all('error'), []);
  });

  test('what is published in one turn goes out in one write', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server);
    const heard = listenTo(target, 'a:');
    await target.ready('a:');
    for (let turns = 1; turns <= 20; turns++) {
      const before = target.stats().writes;
      for (let n = 0; n < 300; n++) publish(target, 'a', '', n);
      await target.flush();
      assert.equal(target.stats().writes, before + 1);
    }
    await heard.reaches(20 * 300);
  });

  test('ten thousand topics are subscribed in few writes', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server);
    const topics = Array.from({ length: 10_000 }, (_, n) => `t:${n}`);
    const heard = listenTo(target, ...topics);
    await target.ready(topics.at(-1));
    assert.ok(target.stats().writes < 100, `${target.stats().writes} writes`);
    for (const topic of topics) publish(target, 't', topic.slice(2), null);
    await heard.reaches(topics.length);
    t.diagnostic(`${target.stats().writes} writes for 10 000 subscriptions and as many events`);
  });

  test('database, client name and a socket of the file system are those of the options', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server, { url: `unix://${server.socket}?db=3`, clientName: 'events-of-mine' });
    await target.ready();
    const list = await server.command('CLIENT', 'LIST');
    const own = list.split('\n').filter((line) => line.includes('name=events-of-mine'));
    assert.equal(own.length, 2, list);
    assert.ok(own.every((line) => / db=3 /.test(line)));
    await target.close();
    await eventually(async () => !(await server.command('CLIENT', 'LIST')).includes('events-of-mine'), 'both are gone');
  });

  test('close() waits until Redis has answered: what was dispatched before it arrives', async (t) => {
    const server = await startRedis(t);
    const reader = makeTarget(t, server);
    const heard = listenTo(reader, 'n:');
    await reader.ready('n:');
    const target = makeTarget(t, server);
    await target.ready();
    for (let n = 0; n < 20_000; n++) publish(target, 'n', '', n);
    await target.close();
    await heard.reaches(20_000);
    assert.deepEqual(
      heard.entries.map(({ payload }) => payload),
      Array.from({ length: 20_000 }, (_, n) => n),
    );
  });
});
