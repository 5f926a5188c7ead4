// Hubs that several servers join: a master that Sentinels watch, and a cluster.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventually, listenTo } from '../websocket/facts.mjs';
import { makeHub, makeOpenSpoke } from '../websocket/targets.mjs';
import { publish, quick } from './facts.mjs';
import { withoutRedis } from './server.mjs';
import { PATIENCE_MS, startCluster, startSentinelSet } from './sets.mjs';

const topics = Array.from({ length: 20 }, (_, n) => `n:${n}`);

/** Two hubs, a spoke at each, and what it hears. */
async function makeHubs(t, servers) {
  const backplane = { ...servers, prefix: 'hubs:', reconnect: quick };
  const hubs = await Promise.all([1, 2].map(() => makeHub(t, { relay: true, backplane })));
  const members = [];
  for (const hub of hubs) {
    const spoke = await makeOpenSpoke(t, hub);
    const [log, gaps] = [listenTo(spoke, ...topics), listenTo(spoke, 'gap')];
    await Promise.all(topics.map((topic) => spoke.ready(topic)));
    members.push({ hub, spoke, log, gaps });
  }
  return members;
}

/** Each publishes so many numbers to the topics in turn, and the other hears them all, once and in order. */
async function exchange(members, from, to) {
  const before = members.map(({ log }) => log.length);
  for (const { spoke } of members) {
    for (let n = from; n < to; n++) publish(spoke, 'n', String(n % topics.length), n);
    await spoke.flush();
  }
  for (const [index, { log }] of members.entries()) {
    await log.reaches(before[index] + to - from, PATIENCE_MS);
    const heard = new Map(topics.map((topic) => [topic, []]));
    for (const { type, id, payload } of log.entries.slice(before[index])) heard.get(`${type}:${id}`).push(payload);
    for (const [at, topic] of topics.entries()) {
      const expected = [];
      for (let n = from; n < to; n++) if (n % topics.length === at) expected.push(n);
      assert.deepEqual(heard.get(topic), expected, topic);
    }
  }
}

describe('hubs joined by several servers', { skip: withoutRedis, concurrency: 1 }, () => {
  test('a master that Sentinels watch: when it is killed each spoke gets one gap, and the hubs are one again', async (t) => {
    const set = await startSentinelSet(t);
    const members = await makeHubs(t, set.options);
    await exchange(members, 0, 2000);
    await set.servers[0].kill();
    for (const { gaps } of members) {
      const [gap] = await gaps.reaches(1, PATIENCE_MS);
      assert.deepEqual([gap.cause, [...gap.topics].sort()], ['upstream', [...topics].sort()]);
    }
    await exchange(members, 2000, 3000);
    assert.deepEqual(
      members.map(({ gaps }) => gaps.length),
      [1, 1],
    );
  });

  for (const sharded of [false, true]) {
    test(`a cluster with ${sharded ? 'sharded' : 'classic'} channels: everybody hears everybody else once and in order`, async (t) => {
      const cluster = await startCluster(t);
      const members = await makeHubs(t, { ...cluster.options, sharded });
      await exchange(members, 0, 2000);
      assert.deepEqual(
        members.map(({ gaps }) => gaps.length),
        [0, 0],
      );
      if (!sharded) return;
      const slot = await cluster.slotOf('hubs:n:3');
      const from = await cluster.ownerOf(slot);
      await cluster.move(slot, from, cluster.masters[(cluster.masters.indexOf(from) + 1) % 3]);
      for (const { gaps } of members) {
        const [gap] = await gaps.reaches(1, PATIENCE_MS);
        assert.deepEqual([gap.cause, gap.topics], ['upstream', ['n:3']]);
      }
      await exchange(members, 2000, 3000);
      await eventually(() => members.every(({ gaps }) => gaps.length === 1), 'no more gaps');
    });
  }
});
