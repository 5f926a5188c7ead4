// Faults of real servers and their connections: the target comes back, has everything subscribed before it is open, tells of exactly one
// gap, and outside of it nothing is missing.
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, test } from 'node:test';
import { eventually, listenTo, next, within } from '../websocket/facts.mjs';
import { makeTarget, publish, quick, watch } from './facts.mjs';
import { startRedis, withoutRedis } from './server.mjs';

const options = { skip: withoutRedis, concurrency: 1 };
const payloadsOf = (log) => log.entries.map(({ payload }) => payload);

/** A target with a few topics, everything it tells, and what it hears of them. */
async function makeListener(t, server, settings = {}) {
  const target = makeTarget(t, server, settings);
  const { log, all } = watch(target);
  const topics = ['a:1', 'a:2', 'b:'];
  const heard = listenTo(target, ...topics);
  await Promise.all(topics.map((topic) => target.ready(topic)));
  return { target, log, all, topics, heard };
}

/** One outage and its end were told, in order: nothing else. */
function tellsOneGap({ log, all, topics }, direction = 'in') {
  const names = log.entries.map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => name !== 'reconnecting'),
    ['open', 'open', 'gap'],
  );
  assert.equal(names[1], 'reconnecting');
  const [gap] = all('gap');
  assert.deepEqual([gap.cause, gap.direction, [...gap.topics].sort()], ['connection-lost', direction, topics]);
  assert.ok(gap.from <= gap.to && gap.to <= Date.now());
  assert.deepEqual(all('open')[1], { reconnected: true, native: true });
}

describe('a connection that is lost', options, () => {
  for (const [what, kill] of [
    ['CLIENT KILL TYPE pubsub', ['CLIENT', 'KILL', 'TYPE', 'pubsub']],
    ['CLIENT KILL TYPE normal', ['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']],
  ]) {
    test(`${what}: everything is subscribed again before it is open, one gap, and all that follows is heard`, async (t) => {
      const server = await startRedis(t);
      const listener = await makeListener(t, server);
      const { target, heard, all } = listener;
      publish(target, 'a', '1', 'before');
      await heard.reaches(1);
      const gone = next(target, 'gap');
      // When `open` is told, what is published from elsewhere arrives.
      target.addEventListener('open', () => publish(target, 'a', '2', 'at open'));
      await server.command(...kill);
      await gone;
      publish(target, 'b', '', 'after');
      await heard.reaches(3);
      assert.deepEqual(payloadsOf(heard), ['before', 'at open', 'after']);
      tellsOneGap(listener);
      assert.equal(all('gap')[0].dropped, undefined);
      assert.deepEqual([target.stats().gaps, target.stats().topics], [1, 3]);
    });
  }

  test('the server is killed and started again: one gap however many attempts, and what waited is sent', async (t) => {
    const server = await startRedis(t);
    const listener = await makeListener(t, server);
    const { target, heard, all } = listener;
    const reconnecting = next(target, 'reconnecting');
    await server.kill();
    await reconnecting;
    publish(target, 'a', '1', 'while it was gone');
    await eventually(() => all('reconnecting').length >= 3, 'three attempts');
    const gap = next(target, 'gap');
    await server.start();
    await gap;
    await heard.reaches(1);
    assert.deepEqual(payloadsOf(heard), ['while it was gone']);
    tellsOneGap(listener);
  });

  test('under traffic nothing is missing outside of the gap that was told', async (t) => {
    const server = await startRedis(t);
    const listener = await makeListener(t, server);
    const { heard, all } = listener;
    const publisher = server.client();
    const KILLS = 3;
    const sent = [];
    let isOver = false;
    const traffic = (async () => {
      for (let n = 0; !isOver; n++) {
        const began = Date.now();
        await publisher.publish('a:1', JSON.stringify({ type: 'a', id: '1', payload: n }));
        sent.push({ n, began, ended: Date.now() });
      }
    })();
    for (let kill = 1; kill <= KILLS; kill++) {
      const before = heard.length;
      await heard.reaches(before + 200);
      await server.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
      await eventually(() => all('gap').length === kill, 'the gap');
    }
    await heard.reaches(heard.length + 200);
    isOver = true;
    await traffic;
    await eventually(() => heard.entries.at(-1).payload === sent.at(-1).n, 'the last one');
    const numbers = payloadsOf(heard);
    assert.ok(
      numbers.every((n, index) => index === 0 || n > numbers[index - 1]),
      'in order, none twice',
    );
    const has = new Set(numbers);
    const missing = sent.filter(({ n }) => !has.has(n));
    // The server took it at some time between the two.
    const isTold = ({ began, ended }) => all('gap').some(({ from, to }) => ended >= from && began <= to);
    assert.deepEqual(
      missing.filter((one) => !isTold(one)),
      [],
    );
    assert.equal(all('gap').length, KILLS);
    t.diagnostic(`${sent.length} sent, ${missing.length} missing, all of them in ${KILLS} gaps`);
  });

  test('a stopped subscriber whose output buffer is exceeded is cut off by the server: a gap, not silence', async (t) => {
    const server = await startRedis(t, '--client-output-buffer-limit', 'pubsub 1mb 0 0');
    const listener = await makeListener(t, server);
    const { target, heard, all } = listener;
    const publisher = makeTarget(t, server);
    await publisher.ready();
    const gap = next(target, 'gap', 60_000);
    const payload = 'x'.repeat(10_000);
    // One turn: nothing is read from here on until the server has had enough.
    const until = Date.now() + 1500;
    for (let n = 0; Date.now() < until && n < 6000; n++) publish(publisher, 'a', '1', [n, payload]);
    while (Date.now() < until);
    await gap;
    publish(publisher, 'b', '', 'after');
    await heard.has(({ payload }) => payload === 'after', 'what follows', 30_000);
    tellsOneGap(listener);
    const numbers = payloadsOf(heard).slice(0, -1);
    assert.ok(numbers.every(([n], index) => index === 0 || n > numbers[index - 1][0]));
    assert.deepEqual(all('error'), []);
    t.diagnostic(`${numbers.length} of 6000 were heard`);
  });
});

describe('a server that pauses', options, () => {
  for (const [what, command] of [
    ['CLIENT PAUSE', ['CLIENT', 'PAUSE', '1500', 'ALL']],
    ['DEBUG SLEEP', ['DEBUG', 'SLEEP', '1.5']],
  ]) {
    test(`${what}, shorter than 2.5 heartbeats: nothing is lost and nothing is told`, async (t) => {
      const server = await startRedis(t);
      const { target, heard, log } = await makeListener(t, server, { limits: { heartbeatMs: 1000 } });
      const slept = server.command(...command);
      if (what === 'CLIENT PAUSE') await slept;
      for (let n = 0; n < 5000; n++) publish(target, 'a', '1', n);
      await heard.reaches(5000, 30_000);
      assert.deepEqual(
        payloadsOf(heard),
        Array.from({ length: 5000 }, (_, n) => n),
      );
      assert.deepEqual(
        log.entries.map(({ name }) => name),
        ['open'],
      );
      await slept;
    });
  }

  test('a server that says nothing for 2.5 heartbeats is given up: one gap', async (t) => {
    const server = await startRedis(t);
    const listener = await makeListener(t, server, { limits: { heartbeatMs: 200, handshakeMs: 500 } });
    const { target, all } = listener;
    const gap = next(target, 'gap');
    const lost = next(target, 'reconnecting');
    const slept = server.command('DEBUG', 'SLEEP', '2');
    assert.match((await lost).cause.message, /2\.5 heartbeats/);
    await gap;
    tellsOneGap(listener);
    assert.equal(all('gap').length, 1);
    await slept;
  });
});

describe('a server that takes no writes', options, () => {
  // PUBLISH writes nothing: neither of these refuses it. What a server says when it refuses an event is in engine/tests/redis.rs.
  test('a replica takes events and passes them to its own subscribers alone', async (t) => {
    const [master, replica] = await Promise.all([startRedis(t), startRedis(t)]);
    await replica.command('REPLICAOF', '127.0.0.1', String(master.port));
    await eventually(async () => (await replica.command('ROLE'))[3] === 'connected', 'the replica is in step');
    await assert.rejects(replica.command('SET', 'a', '1'), /READONLY/);
    const [above, below] = [makeTarget(t, master), makeTarget(t, replica)];
    const { all } = watch(below);
    const [heardAbove, heardBelow] = [listenTo(above, 'a:'), listenTo(below, 'a:')];
    await Promise.all([above.ready('a:'), below.ready('a:')]);
    publish(below, 'a', '', 'from the replica');
    await below.flush();
    publish(above, 'a', '', 'from the master');
    await Promise.all([heardBelow.reaches(2), heardAbove.reaches(1)]);
    assert.deepEqual(payloadsOf(heardBelow), ['from the replica', 'from the master']);
    assert.deepEqual([payloadsOf(heardAbove), all('error')], [['from the master'], []]);
  });

  test('one that is out of memory takes events', async (t) => {
    const server = await startRedis(t, '--maxmemory', '1', '--maxmemory-policy', 'noeviction');
    await assert.rejects(server.command('SET', 'a', '1'), /OOM/);
    const target = makeTarget(t, server);
    const { all } = watch(target);
    const heard = listenTo(target, 'a:');
    await target.ready('a:');
    for (let n = 0; n < 1000; n++) publish(target, 'a', '', n);
    await heard.reaches(1000);
    assert.deepEqual(all('error'), []);
  });

  test('one that cannot save is connected to, although it refuses PING', async (t) => {
    const server = await startRedis(t);
    await server.command('CONFIG', 'SET', 'save', '3600 1');
    // Its folder goes: saving fails, and everything that writes is refused.
    rmSync(dirname(server.socket), { recursive: true });
    await server.command('SET', 'a', '1');
    await server.command('BGSAVE');
    await eventually(async () => /MISCONF/.test(await server.command('PING').catch(String)), 'PING is refused');
    const target = makeTarget(t, server);
    const heard = listenTo(target, 'a:');
    await target.ready('a:');
    publish(target, 'a', '', 1);
    await heard.reaches(1);
  });
});

describe('who may not', options, () => {
  const acl = async (server, ...rules) => server.command('ACL', 'SETUSER', 'me', 'reset', 'on', '>secret', ...rules);
  const at = (server, user = 'me:secret@') => server.url.replace('//', `//${user}`);

  test('a publication that the ACL refuses is an error that names topic and cause, and the next one goes through', async (t) => {
    const server = await startRedis(t);
    await acl(server, '+@all', 'resetchannels', '&ok:*');
    const target = makeTarget(t, server, { url: at(server) });
    const { all, log } = watch(target);
    const heard = listenTo(target, 'ok:1');
    await target.ready('ok:1');
    for (let n = 0; n < 100; n++) publish(target, 'not', 'mine', n);
    publish(target, 'ok', '1', 'through');
    await heard.reaches(1);
    await log.has(({ name }) => name === 'error', 'an error');
    const [error] = all('error');
    assert.equal(error.code, 'ERR_FORBIDDEN');
    assert.match(error.message, /redis refused publishing to "not:mine": FORBIDDEN: NOPERM/);
    await eventually(() => target.stats().refused === 100, 'all are counted');
    assert.equal(all('reconnecting').length, 0);
  });

  test('a subscription that the ACL refuses rejects ready(topic) and is an error; the others are active', async (t) => {
    const server = await startRedis(t);
    await acl(server, '+@all', 'resetchannels', '&ok:*');
    const target = makeTarget(t, server, { url: at(server) });
    const { all } = watch(target);
    listenTo(target, 'ok:1', 'not:mine');
    await assert.rejects(target.ready('not:mine'), { code: 'ERR_FORBIDDEN' });
    assert.deepEqual(await target.ready('ok:1'), { acknowledged: true });
    assert.deepEqual(
      all('error').map(({ code }) => code),
      ['ERR_FORBIDDEN'],
    );
  });

  test('an ACL that takes a channel away cuts the subscriber: one gap, the topic is refused, the others go on', async (t) => {
    const server = await startRedis(t);
    await acl(server, '+@all', 'allchannels');
    const target = makeTarget(t, server, { url: at(server) });
    const { all } = watch(target);
    const heard = listenTo(target, 'ok:1', 'ok:2');
    await Promise.all([target.ready('ok:1'), target.ready('ok:2')]);
    const gap = next(target, 'gap');
    await server.command('ACL', 'SETUSER', 'me', 'resetchannels', '&ok:1');
    await gap;
    await assert.rejects(target.ready('ok:2'), { code: 'ERR_FORBIDDEN' });
    publish(target, 'ok', '1', 'still');
    await heard.reaches(1);
    assert.deepEqual(
      all('error').map(({ code }) => code),
      ['ERR_FORBIDDEN'],
    );
    assert.equal(all('gap').length, 1);
  });

  test('a wrong password is tried twice and is then the end', async (t) => {
    const server = await startRedis(t, '--requirepass', 'secret');
    for (const url of [at(server, ':wrong-password@'), server.url]) {
      const target = makeTarget(t, server, { url });
      const { all } = watch(target);
      await assert.rejects(target.ready(), { code: 'ERR_NOT_IDENTIFIED' });
      const { error } = await within(target.closed, 'the end');
      assert.equal(error.code, 'ERR_NOT_IDENTIFIED');
      assert.equal(all('reconnecting').length, 1);
      assert.doesNotMatch(JSON.stringify(all('error')) + error.message, /wrong-password/);
    }
  });

  test('a password that is asked for is asked for anew before each attempt', async (t) => {
    const server = await startRedis(t, '--requirepass', 'first');
    const passwords = ['wrong', 'first', 'first'];
    const target = makeTarget(t, server, { password: async () => passwords.shift() ?? 'second' });
    await target.ready();
    assert.deepEqual(passwords, ['first']);
    await server.client({ password: 'first' }).config('SET', 'requirepass', 'second');
    const opened = next(target, 'open');
    await server.client({ password: 'second' }).client('KILL', 'TYPE', 'normal');
    await opened;
    assert.deepEqual(passwords, []);
  });
});

describe('while there is no server', options, () => {
  test('what is dispatched waits up to maxBufferedAmount, then the newest is dropped, counted and reported', async (t) => {
    const server = await startRedis(t);
    const reader = makeTarget(t, server);
    const heard = listenTo(reader, 'a:');
    await reader.ready('a:');
    const target = makeTarget(t, server, { maxBufferedAmount: 10_000, url: () => url });
    let url = 'redis://127.0.0.1:1';
    const { log, all } = watch(target);
    for (let n = 0; n < 1000; n++) publish(target, 'a', '', n);
    await log.has(({ name }) => name === 'error', 'an error');
    assert.ok(target.bufferedAmount <= 10_000);
    assert.ok(all('error').every(({ code }) => code === 'ERR_BUFFER_FULL'));
    url = server.url;
    await target.ready();
    publish(target, 'a', '', 'last');
    await heard.has(({ payload }) => payload === 'last', 'the last');
    const kept = payloadsOf(heard).slice(0, -1);
    assert.deepEqual(
      kept,
      kept.map((_, n) => n),
    );
    assert.equal(target.stats().dropped, 1000 - kept.length);
    t.diagnostic(`${kept.length} waited, ${1000 - kept.length} dropped`);
  });

  test('what waits longer than queueMaxAgeMs is dropped and reported', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server, { url: 'redis://127.0.0.1:1', queueMaxAgeMs: 1, reconnect: quick });
    const { log } = watch(target);
    publish(target, 'a', '', 1);
    const { detail } = await log.has(({ name }) => name === 'error', 'an error');
    assert.equal(detail.code, 'ERR_BUFFER_FULL');
    assert.match(detail.message, /queueMaxAgeMs/);
    assert.equal(target.stats().dropped, 1);
  });

  test('with reconnect.initial false the first failure is the end; with reconnect false the first loss', async (t) => {
    const server = await startRedis(t);
    const never = makeTarget(t, server, { url: 'redis://127.0.0.1:1', reconnect: { initial: false } });
    await assert.rejects(never.ready(), { code: 'ERR_CONNECT' });
    const once = makeTarget(t, server, { reconnect: false });
    await once.ready();
    await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    assert.equal((await within(once.closed, 'the end')).error.code, 'ERR_CONNECTION_LOST');
  });
});

test('connections come and go a hundred times and leave nothing behind', options, async (t) => {
  const server = await startRedis(t);
  const { target, all } = await makeListener(t, server, { reconnect: { minDelayMs: 1, maxDelayMs: 2 } });
  const descriptors = async () => (await import('node:fs')).readdirSync('/proc/self/fd').length;
  const before = await descriptors();
  for (let n = 1; n <= 100; n++) {
    await server.command('CLIENT', 'KILL', 'TYPE', n % 2 === 0 ? 'pubsub' : 'normal', 'SKIPME', 'yes');
    await eventually(() => all('gap').length === n, `gap ${n}`);
  }
  await eventually(async () => (await descriptors()) <= before + 2, 'no descriptor is left');
  assert.deepEqual([target.stats().topics, target.stats().panics, all('error').length], [3, 0, 0]);
  assert.equal((await server.command('PUBSUB', 'CHANNELS')).length, 3);
});
