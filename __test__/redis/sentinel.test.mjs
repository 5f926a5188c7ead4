// A master that Sentinels watch: the target asks them at each attempt, takes nobody but a master, and follows when another becomes it.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { eventually, listenTo, next, within } from '../websocket/facts.mjs';
import { publish, quick, watch } from './facts.mjs';
import { message, startFake, usual } from './fake.mjs';
import { startRedis, startSentinel, withoutRedis } from './server.mjs';
import { PATIENCE_MS, startSentinelSet } from './sets.mjs';
import { Traffic } from './traffic.mjs';

const options = { skip: withoutRedis, concurrency: 1 };
const topics = ['a:1', 'a:2', 'b:'];

/** A target that is closed with the test, and everything it tells. */
function makeTarget(t, settings) {
  const target = createRedisEventTarget({ reconnect: { minDelayMs: 1, maxDelayMs: 200 }, ...settings });
  t.after(() => target.close({ timeoutMs: 1000 }));
  return { target, ...watch(target) };
}

async function makePair(t, set) {
  const listener = makeTarget(t, set.options);
  const publisher = makeTarget(t, set.options);
  const heard = listenTo(listener.target, ...topics);
  await Promise.all([publisher.target.ready(), ...topics.map((topic) => listener.target.ready(topic))]);
  return { listener, publisher, heard };
}

const subscribersAt = async (server) => (await server.command('PUBSUB', 'NUMSUB', 'a:1'))[1];

describe('a failover', options, () => {
  for (const [what, fail] of [
    ['SENTINEL FAILOVER', (set) => set.sentinels[0].command('SENTINEL', 'FAILOVER', set.name)],
    ['the master is killed', (set) => set.servers[0].kill()],
  ]) {
    test(`${what}: subscribed again at the new master, one gap, nothing missing outside of it`, async (t) => {
      const set = await startSentinelSet(t);
      const { listener, publisher, heard } = await makePair(t, set);
      const traffic = new Traffic(publisher.target, topics);
      await heard.reaches(200);
      const gap = next(listener.target, 'gap', PATIENCE_MS);
      await fail(set);
      await gap;
      await set.becomesMaster(set.servers[1]);
      await eventually(() => publisher.target.state === 'open', 'the publisher is back', PATIENCE_MS);
      await heard.reaches(heard.length + 200, PATIENCE_MS);
      await traffic.stop();
      await heard.has(({ payload }) => payload === traffic.last, 'the last number', PATIENCE_MS);
      assert.equal(await subscribersAt(set.servers[1]), 1);
      const gaps = listener.all('gap');
      assert.equal(gaps.length, 1);
      assert.deepEqual(
        [gaps[0].cause, gaps[0].direction, [...gaps[0].topics].sort()],
        ['connection-lost', 'in', topics],
      );
      assert.deepEqual(
        listener.log.entries.map(({ name }) => name).filter((name) => name !== 'reconnecting'),
        ['open', 'open', 'gap'],
      );
      const missing = traffic.check(heard, [...gaps, ...publisher.all('gap')]);
      t.diagnostic(`${traffic.sent.length} sent, ${missing.length} missing, all of them in gaps`);
    });
  }

  test('the master that was killed comes back as a replica: nobody goes back to it', async (t) => {
    const set = await startSentinelSet(t);
    const { listener, publisher, heard } = await makePair(t, set);
    await set.servers[0].kill();
    await next(listener.target, 'gap', PATIENCE_MS);
    await set.servers[0].start();
    const [role] = await eventually(
      async () => {
        const answer = await set.servers[0].command('ROLE').catch(() => []);
        return answer[0] === 'slave' && answer;
      },
      'it is a replica',
      PATIENCE_MS,
    );
    assert.equal(role, 'slave');
    await eventually(() => publisher.target.state === 'open', 'the publisher is back', PATIENCE_MS);
    publish(publisher.target, 'b', '', 'after');
    await heard.has(({ payload }) => payload === 'after', 'what follows', PATIENCE_MS);
    assert.deepEqual([await subscribersAt(set.servers[0]), await subscribersAt(set.servers[1])], [0, 1]);
    assert.equal(listener.all('gap').length, 1);
  });
});

/** Answers as a Sentinel that names one master, and another when it is told to; `others` are messages that come before. */
async function startSwitchingSentinel(t, first) {
  let master = first;
  const watching = new Set();
  const fake = await startFake(t, (words, socket) => {
    if (words[0] === 'SENTINEL') return `*2\r\n$9\r\n127.0.0.1\r\n$${String(master.port).length}\r\n${master.port}\r\n`;
    if (words[0] === 'SUBSCRIBE') {
      watching.add(socket);
      socket.on('close', () => watching.delete(socket));
    }
    return usual(words);
  });
  const say = (text) => {
    for (const socket of watching) socket.write(message('+switch-master', text));
  };
  const switchTo = (next) => {
    const from = master.port;
    master = next;
    return `events 127.0.0.1 ${from} 127.0.0.1 ${next.port}`;
  };
  return { url: fake.url, watching, say, switchTo };
}

describe('a master that stays reachable when another becomes it', options, () => {
  const follows = async (t, change) => {
    const [old, anew] = await Promise.all([startRedis(t), startRedis(t)]);
    const sentinel = await startSwitchingSentinel(t, old);
    const { target, all } = makeTarget(t, { sentinels: [sentinel.url], serviceName: 'events' });
    const heard = listenTo(target, 'a:1');
    await target.ready('a:1');
    await eventually(() => sentinel.watching.size > 0, 'it listens to the Sentinel');
    await change(sentinel, old, anew);
    await eventually(async () => (await subscribersAt(anew)) === 1, 'it listens at the new master', PATIENCE_MS);
    assert.equal(await subscribersAt(old), 0);
    await target.ready('a:1');
    await anew.command('PUBLISH', 'a:1', '{"type":"a","id":"1","payload":"after"}');
    await heard.has(({ payload }) => payload === 'after', 'what follows');
    const gaps = all('gap');
    assert.deepEqual([gaps.length, gaps[0]?.cause, gaps[0]?.topics], [1, 'connection-lost', ['a:1']]);
  };

  test('it is left as soon as a Sentinel says so, and not for what is said of others', async (t) => {
    await follows(t, async (sentinel, old, anew) => {
      sentinel.say(`other 127.0.0.1 ${old.port} 127.0.0.1 ${anew.port}`);
      sentinel.say(`events 127.0.0.1 ${anew.port} 127.0.0.1 ${old.port}`);
      sentinel.say('events');
      sentinel.say(sentinel.switchTo(anew));
    });
  });

  test('it is left when the Sentinel was gone while that happened', async (t) => {
    await follows(t, async (sentinel, _old, anew) => {
      sentinel.switchTo(anew);
      for (const socket of sentinel.watching) socket.destroy();
    });
  });
});

/** Answers as a Sentinel that is told what to say. */
async function startFakeSentinel(t, { port }) {
  const named = `*2\r\n$9\r\n127.0.0.1\r\n$${String(port).length}\r\n${port}\r\n`;
  const { url } = await startFake(t, (words) => (words[0] === 'SENTINEL' ? named : usual(words)));
  return url;
}

describe('Sentinels', options, () => {
  test('a server that they name and that is no master is not taken, and the next Sentinel is asked', async (t) => {
    const [master, replica] = await Promise.all([startRedis(t), startRedis(t)]);
    await replica.command('REPLICAOF', '127.0.0.1', String(master.port));
    const behind = await startFakeSentinel(t, replica);
    const sentinel = await startFakeSentinel(t, master);
    const lost = makeTarget(t, { sentinels: [behind], serviceName: 'events' });
    const [{ cause }] = await lost.log.has(({ name }) => name === 'reconnecting').then(() => lost.all('reconnecting'));
    assert.equal(cause.code, 'ERR_HANDSHAKE');
    assert.match(cause.message, new RegExp(`127.0.0.1:${replica.port} is no master`));
    const found = makeTarget(t, { sentinels: [behind, sentinel], serviceName: 'events' });
    await found.target.ready();
    assert.equal(lost.target.state, 'reconnecting');
  });

  test('those that are gone or know no such master are passed over, and all are named when none helps', async (t) => {
    const master = await startRedis(t);
    const knowing = await startSentinel(t, 'events', master.port, 1);
    const ignorant = await startSentinel(t, 'other', master.port, 1);
    const at = ({ port }) => `redis://127.0.0.1:${port}`;
    const gone = 'redis://127.0.0.1:1';
    const { target } = makeTarget(t, { sentinels: [gone, at(ignorant), at(knowing)], serviceName: 'events' });
    await target.ready();
    const lost = makeTarget(t, {
      sentinels: [gone, at(ignorant)],
      serviceName: 'events',
      reconnect: { initial: false },
    });
    const { error } = await within(lost.target.closed, 'the end');
    assert.equal(error.code, 'ERR_CONNECT');
    assert.match(error.message, /no Sentinel names a master "events": .*127\.0\.0\.1:1.*it knows no such master/);
  });

  test('they have users of their own; a wrong password is the end the second time', async (t) => {
    const master = await startRedis(t);
    await master.command('ACL', 'SETUSER', 'me', 'on', '>master', '+@all', 'allchannels');
    const sentinel = await startSentinel(t, 'events', master.port, 1, 'requirepass watcher');
    const set = { sentinels: [{ host: '127.0.0.1', port: sentinel.port }], serviceName: 'events' };
    const login = { username: 'me', password: async () => 'master' };
    const { target } = makeTarget(t, { ...set, ...login, sentinelPassword: () => 'watcher', clientName: 'mine' });
    await target.ready();
    assert.match(await master.command('CLIENT', 'LIST'), /name=mine .*user=me/);
    const inUrl = `redis://:watcher@127.0.0.1:${sentinel.port}`;
    await makeTarget(t, { sentinels: [inUrl], serviceName: 'events', ...login }).target.ready();
    for (const wrong of [
      { ...set, ...login, sentinelPassword: 'no' },
      { ...set, username: 'me', password: 'no', sentinelPassword: 'watcher' },
    ]) {
      const { target: refused } = makeTarget(t, { ...wrong, reconnect: quick });
      const { error } = await within(refused.closed, 'the end');
      assert.equal(error.code, 'ERR_NOT_IDENTIFIED');
      assert.doesNotMatch(error.message, /watcher/);
    }
  });
});
