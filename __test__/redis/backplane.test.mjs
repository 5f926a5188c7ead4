// Hubs that a real Redis joins, in processes of their own and in this one: events each way, who hears what, and what breaks in between.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { createEvent } from '../../dist/index.js';
import { Child } from '../websocket/children.mjs';
import { eventually, Log, listenTo, next, within } from '../websocket/facts.mjs';
import { makeHub, makeOpenSpoke } from '../websocket/targets.mjs';
import { makeTarget, publish, quick, watch } from './facts.mjs';
import { startFake, usual } from './fake.mjs';
import { startRedis, withoutRedis } from './server.mjs';

const PATIENCE_MS = 120_000;
const prefix = 'hubs:';

/** A hub in a process of its own. */
async function startHub(t, server) {
  const child = new Child(t, '../../redis/fixtures/hub.mjs', server.url, prefix);
  const { url } = await child.told('listens');
  return { child, url };
}

/** A hub of this process. */
const hubAt = (t, server, options = {}) =>
  makeHub(t, { relay: true, backplane: { url: server.url, prefix, reconnect: quick }, ...options });

/** A spoke that hears the topic, and what it has heard. */
async function hearer(t, to, topic) {
  const spoke = await makeOpenSpoke(t, to);
  const [log, gaps] = [listenTo(spoke, topic), listenTo(spoke, 'gap')];
  assert.deepEqual(await spoke.ready(topic), { acknowledged: true });
  return { spoke, log, gaps };
}

/** The numbers of each publisher, in the order in which they came. */
function byPublisher(log) {
  const heard = {};
  for (const { payload } of log.entries) {
    const [publisher, number] = payload;
    heard[publisher] ??= [];
    heard[publisher].push(number);
  }
  return heard;
}

const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => from + n);

/** Publishes numbers, and lets what waits go before more comes: no reader of any hub is flooded. */
async function publishNumbers(target, name, from, to) {
  for (let n = from; n < to; n++) {
    target.dispatchEvent(createEvent('n', '1', [name, n]));
    if (n % 100 === 99) await target.flush();
  }
}

const channels = (server) => server.command('PUBSUB', 'CHANNELS', '*');

suite('hubs joined by Redis', { skip: withoutRedis }, () => {
  for (const count of [2, 5]) {
    test(`${count} hubs in ${count} processes: everybody hears everybody else once and in order`, async (t) => {
      const EVENTS = 10_000;
      const server = await startRedis(t);
      const hubs = await Promise.all(numbers(0, count).map(() => startHub(t, server)));
      const members = await Promise.all(hubs.map(({ url }) => hearer(t, url, 'n:1')));
      await Promise.all(members.map(({ spoke }, index) => publishNumbers(spoke, `hub ${index}`, 0, EVENTS)));
      for (const [index, { log, gaps }] of members.entries()) {
        await log.reaches((count - 1) * EVENTS, PATIENCE_MS);
        const others = numbers(0, count).filter((other) => other !== index);
        const expected = Object.fromEntries(others.map((other) => [`hub ${other}`, numbers(0, EVENTS)]));
        assert.deepEqual(byPublisher(log), expected);
        assert.equal(gaps.length, 0);
      }
      for (const { child } of hubs) {
        const { stats } = await child.ask('stats');
        const { backplanePublished, backplaneReceived, backplaneDropped, backplaneGaps, backplaneTopics } = stats;
        assert.deepEqual(
          [backplanePublished, backplaneReceived, backplaneDropped, backplaneGaps, backplaneTopics],
          [EVENTS, (count - 1) * EVENTS, 0, 0, 1],
        );
      }
    });
  }

  test('a hub that joins late hears what follows, and one that dies takes nothing along', async (t) => {
    const server = await startRedis(t);
    const [first, doomed] = await Promise.all([startHub(t, server), startHub(t, server)]);
    const witness = await hearer(t, first.url, 'n:1');
    const [publisher, last] = await Promise.all([makeOpenSpoke(t, first.url), makeOpenSpoke(t, doomed.url)]);
    await publishNumbers(publisher, 'first', 0, 1000);
    const late = await startHub(t, server);
    const lateHearer = await hearer(t, late.url, 'n:1');
    const killed = publishNumbers(last, 'doomed', 0, 500).then(() => {
      doomed.child.kill('SIGKILL');
      return doomed.child.exited;
    });
    await Promise.all([publishNumbers(publisher, 'first', 1000, 3000), killed]);
    await publishNumbers(publisher, 'first', 3000, 4000);
    const isLast = ({ payload: [name, n] }) => name === 'first' && n === 3999;
    for (const { log } of [witness, lateHearer]) await log.has(isLast, 'the last number', PATIENCE_MS);
    const [early, since] = [byPublisher(witness.log), byPublisher(lateHearer.log)];
    assert.deepEqual([early.first, since.first], [numbers(0, 4000), numbers(1000, 4000)]);
    for (const { doomed: heard = [] } of [early, since]) {
      assert.deepEqual(heard, numbers(0, heard.length), 'in order and without a hole, up to its end');
    }
    assert.deepEqual([witness.gaps.length, lateHearer.gaps.length], [0, 0]);
  });

  test('CLIENT KILL TYPE pubsub in the middle is one gap at each spoke, and outside of it nothing is missing', async (t) => {
    const server = await startRedis(t);
    const hubs = await Promise.all([hubAt(t, server), hubAt(t, server)]);
    const hearers = await Promise.all(hubs.map((hub) => hearer(t, hub, 'n:1')));
    const publishers = await Promise.all(hubs.map((hub) => makeOpenSpoke(t, hub)));
    const before = Promise.all(publishers.map((spoke, index) => publishNumbers(spoke, `${index}`, 0, 2000)));
    await hearers[0].log.reaches(100);
    await server.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await Promise.all([before, ...hearers.map(({ gaps }) => gaps.reaches(1))]);
    await Promise.all(publishers.map((spoke, index) => publishNumbers(spoke, `${index}`, 2000, 3000)));
    for (const { log } of hearers)
      for (const name of ['0', '1'])
        await log.has(({ payload }) => payload[0] === name && payload[1] === 2999, 'the last number', PATIENCE_MS);
    for (const [index, { log, gaps }] of hearers.entries()) {
      assert.deepEqual(
        gaps.entries.map(({ cause, topics, direction }) => ({ cause, topics, direction })),
        [{ cause: 'upstream', topics: ['n:1'], direction: 'in' }],
      );
      const heard = byPublisher(log);
      assert.deepEqual(heard[index], numbers(0, 3000), 'what its own hub publishes is not touched');
      const other = heard[1 - index];
      const holes = other.filter((n, at) => at > 0 && n !== other[at - 1] + 1);
      assert.ok(holes.length <= 1, `one hole at most, there are ${holes.length}`);
      assert.deepEqual(
        other,
        [...new Set(other)].sort((a, b) => a - b),
        'once and in order',
      );
      assert.deepEqual(other.slice(-1000), numbers(2000, 3000));
    }
    assert.deepEqual(
      hubs.map((hub) => hub.stats().backplaneGaps),
      [1, 1],
    );
  });

  test('a hub subscribes at Redis to what somebody on it wants, once, and to nothing else', async (t) => {
    const server = await startRedis(t);
    const hub = await hubAt(t, server);
    const spokes = [await hearer(t, hub, 'a:1'), await hearer(t, hub, 'a:1')];
    assert.deepEqual(await channels(server), [`${prefix}a:1`]);
    assert.deepEqual(await server.command('PUBSUB', 'NUMSUB', `${prefix}a:1`), [`${prefix}a:1`, 1]);
    const listener = () => {};
    hub.addEventListener('b:1', listener);
    assert.deepEqual(await hub.ready('b:1'), { acknowledged: true });
    assert.deepEqual((await channels(server)).sort(), [`${prefix}a:1`, `${prefix}b:1`]);
    hub.removeEventListener('b:1', listener);
    await spokes[0].spoke.close();
    await eventually(async () => (await channels(server)).length === 1, 'b:1 is given up');
    assert.deepEqual(await channels(server), [`${prefix}a:1`]);
    await spokes[1].spoke.close();
    await eventually(async () => (await channels(server)).length === 0, 'a:1 is given up');
  });

  test('a client of ioredis reaches listeners and spokes of every hub, and reads what hubs publish', async (t) => {
    const server = await startRedis(t);
    const hubs = await Promise.all([hubAt(t, server), hubAt(t, server)]);
    const spoke = await hearer(t, hubs[0], 'a:1');
    const onHub = listenTo(hubs[1], 'a:1');
    await hubs[1].ready('a:1');
    const [publisher, reader] = [server.client(), server.client()];
    const read = new Log();
    reader.on('message', (channel, message) => read.push([channel, JSON.parse(message)]));
    await reader.subscribe(`${prefix}b:1`);
    await publisher.publish(`${prefix}a:1`, '{"id":"1","payload":{"x":1},"type":"a","_o":"somebody else"}');
    for (const log of [spoke.log, onHub]) {
      await log.reaches(1);
      assert.deepEqual(log.entries, [{ type: 'a', id: '1', payload: { x: 1 } }]);
    }
    publish(hubs[0], 'b', '1', [2]);
    const [[channel, { _o, ...envelope }]] = await read.reaches(1);
    assert.deepEqual([channel, envelope], [`${prefix}b:1`, { type: 'b', id: '1', payload: [2] }]);
    assert.match(_o, /^[0-9a-f]{32}$/);
  });

  test('hubs and targets at one Redis hear each other, and no hub hears itself', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server, { prefix });
    const hubs = await Promise.all([
      hubAt(t, server, { backplane: target }),
      hubAt(t, server, { backplane: target, echo: true }),
    ]);
    const logs = [target, ...hubs].map((who) => listenTo(who, 'a:1'));
    await Promise.all([target, ...hubs].map((who) => who.ready('a:1')));
    const spoke = await hearer(t, hubs[0], 'a:1');
    for (const [index, who] of [target, ...hubs, spoke.spoke].entries()) publish(who, 'a', '1', index);
    await Promise.all([target, ...hubs, spoke.spoke].map((who) => who.flush()));
    const expected = [
      [logs[0], [0, 1, 2, 3]],
      [logs[1], [0, 2, 3]],
      [logs[2], [0, 1, 2, 3]],
      [spoke.log, [0, 1, 2]],
    ];
    for (const [log, payloads] of expected) {
      await log.reaches(payloads.length);
      assert.deepEqual(log.entries.map(({ payload }) => payload).sort(), payloads);
    }
    publish(target, 'a', '1', 'end');
    for (const [log, payloads] of expected) {
      await log.has(({ payload }) => payload === 'end');
      assert.equal(log.length, payloads.length + 1, 'nothing came twice');
    }
  });

  test('a hub goes on alone while there is no Redis, and says what was missed when there is', async (t) => {
    const server = await startRedis(t);
    const hub = await hubAt(t, server);
    const lost = next(hub, 'error');
    await eventually(async () => (await server.command('CLIENT', 'LIST')).split('id=').length > 3, 'the hub is there');
    await server.kill();
    assert.equal((await lost).code, 'ERR_CONNECTION_LOST');
    const spoke = await makeOpenSpoke(t, hub);
    const [log, gaps] = [listenTo(spoke, 'a:1'), listenTo(spoke, 'gap')];
    assert.deepEqual(await spoke.ready('a:1'), { acknowledged: true }, 'subscribed here');
    publish(hub, 'a', '1', 1);
    await log.reaches(1);
    await server.start();
    await gaps.reaches(1);
    assert.deepEqual([gaps.entries[0].cause, gaps.entries[0].topics], ['upstream', ['a:1']]);
    await server.command('PUBLISH', `${prefix}a:1`, '{"type":"a","id":"1","payload":2}');
    await log.reaches(2);
    assert.equal(gaps.length, 1);
  });

  test('what Redis refuses is an error of the hub, once, and the hub goes on with its own', async (t) => {
    const server = await startRedis(t);
    await server.command('ACL', 'SETUSER', 'hub', 'on', '>secret', '+@all', '-publish', 'resetchannels', '&hubs:a:*');
    const hub = await hubAt(t, server, {
      backplane: { url: server.url, username: 'hub', password: 'secret', prefix, reconnect: quick },
    });
    const { log: told, all } = watch(hub);
    const spoke = await makeOpenSpoke(t, hub);
    const heard = listenTo(spoke, 'b:1');
    await spoke.ready('b:1');
    await told.has(({ name }) => name === 'error', 'the refused subscription');
    publish(hub, 'b', '1', 1);
    await heard.reaches(1);
    await eventually(() => all('error').length === 2, 'the refused publication');
    const [subscribing, publishing] = all('error');
    assert.deepEqual([subscribing.code, publishing.code], ['ERR_FORBIDDEN', 'ERR_FORBIDDEN']);
    assert.match(subscribing.message, /"b:1" cannot be heard from other hubs: .*NOPERM/);
    assert.match(publishing.message, /the backplane: redis refused publishing to "b:1": .*NOPERM/);
  });

  test('a target that is closed leaves its hubs alone, and a hub that closes leaves the target open', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server, { prefix });
    const [leaving, staying] = await Promise.all([1, 2].map(() => hubAt(t, server, { backplane: target })));
    const spoke = await hearer(t, staying, 'a:1');
    await leaving.close();
    assert.equal(target.state, 'open');
    const told = Promise.all([next(spoke.spoke, 'gap'), next(staying, 'error')]);
    await target.close();
    const [gap, error] = await told;
    assert.deepEqual([gap.cause, gap.topics, error.code], ['upstream', ['a:1'], 'ERR_CLOSED']);
    publish(staying, 'a', '1', 1);
    await spoke.log.reaches(1);
    assert.deepEqual(await within(staying.ready(), 'an answer'), { acknowledged: true });
    const isLeft = async () => !(await server.command('CLIENT', 'LIST')).includes('cmd=subscribe');
    await eventually(isLeft, 'no connection is left at Redis');
  });
});

test('hub.close() resolves when Redis has what the hub has published, or when its time is over', {
  skip: withoutRedis,
}, async (t) => {
  const EVENTS = 5000;
  const server = await startRedis(t);
  const hub = await hubAt(t, server);
  const target = makeTarget(t, server);
  await target.ready();
  for (let n = 0; n < EVENTS; n++) publish(hub, 'n', '1', n);
  await hub.close();
  const calls = /cmdstat_publish:calls=(\d+)/.exec(await server.command('INFO', 'commandstats'));
  assert.equal(Number(calls?.[1]), EVENTS);

  const stuck = await startFake(t, (words) => (words[0] === 'PUBLISH' ? undefined : usual(words)));
  const patient = await hubAt(t, stuck);
  publish(patient, 'n', '1', 0);
  await within(patient.close({ timeoutMs: 100 }), 'close()', 3000);
});

test('options that join no hubs are refused, and none shows a password', async (t) => {
  const { createHub } = await import('../../dist/hub.js');
  const asked = makeTarget(t, { url: () => 'redis://127.0.0.1:1' });
  for (const [backplane, message] of [
    [asked, /^backplane: url, username and password of a Redis that joins hubs must be texts/],
    [{ url: () => 'redis://127.0.0.1:1' }, /^backplane: url, username and password/],
    [{ url: 'http://127.0.0.1', prefix }, /^url must be a redis:, rediss: or unix: URL/],
    [{ url: 'redis://:secret@127.0.0.1', echo: true }, /^options has no "echo"/],
    [{ prefix }, /^backplane must be a target that joins hubs/],
  ]) {
    assert.throws(() => createHub({ backplane }), { name: 'TypeError', code: 'ERR_INVALID_OPTION', message });
  }
});
