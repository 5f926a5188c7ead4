// Sharded channels in a real cluster: each goes through the owner of its slot, wherever that is at the moment; what one node takes along is a
// gap of its topics alone.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventually, listenTo, next } from '../websocket/facts.mjs';
import { makeWatched, publish } from './facts.mjs';
import { withoutRedis } from './server.mjs';
import { PATIENCE_MS, startCluster } from './sets.mjs';
import { hearsMany, manyTopics, publishToMany, Traffic } from './traffic.mjs';

const options = { skip: withoutRedis, concurrency: 1 };

/** A target that is closed with the test, and everything it tells. */
const makeTarget = (t, cluster, settings = {}) => makeWatched(t, { ...cluster.options, sharded: true, ...settings });

/** Some topics of each master. */
async function topicsOf(cluster, perMaster = 3) {
  const byMaster = new Map(cluster.masters.map((master) => [master, []]));
  for (let n = 0; [...byMaster.values()].some((topics) => topics.length < perMaster); n++) {
    const topics = byMaster.get(await cluster.ownerOf(await cluster.slotOf(`t:${n}`)));
    if (topics.length < perMaster) topics.push(`t:${n}`);
  }
  return byMaster;
}

async function makePair(t, cluster) {
  const byMaster = await topicsOf(cluster);
  const topics = [...byMaster.values()].flat();
  const listener = makeTarget(t, cluster);
  const publisher = makeTarget(t, cluster);
  const heard = listenTo(listener.target, ...topics);
  await Promise.all([publisher.target.ready(), listener.target.ready()]);
  return { byMaster, topics, listener, publisher, heard };
}

const channelsAt = (node) => node.command('PUBSUB', 'SHARDCHANNELS');

describe('sharded channels', options, () => {
  test('a thousand topics over all slots: each event once and in order, at the owner of its slot alone', async (t) => {
    const cluster = await startCluster(t);
    const { target: listener, log } = makeTarget(t, cluster);
    const publishers = [1, 2].map(() => makeTarget(t, cluster).target);
    const heard = listenTo(listener, ...manyTopics);
    await Promise.all([listener, ...publishers].map((target) => target.ready()));
    const channels = await Promise.all(cluster.masters.map(channelsAt));
    assert.deepEqual(channels.flat().sort(), [...manyTopics].sort());
    assert.ok(
      channels.every((own) => own.length > 200),
      'each has its share',
    );
    publishToMany(publishers);
    await Promise.all(publishers.map((publisher) => publisher.flush()));
    await hearsMany(heard, publishers, PATIENCE_MS);
    assert.deepEqual(
      log.entries.map(({ name }) => name),
      ['open'],
    );
  });

  test('a slot that moves while events are published: one gap of its topics, the others miss nothing', async (t) => {
    const cluster = await startCluster(t);
    const { byMaster, topics, listener, publisher, heard } = await makePair(t, cluster);
    const [from, to] = cluster.masters;
    const [moving] = byMaster.get(from);
    const traffic = new Traffic(publisher.target, topics);
    await heard.reaches(200);
    const gap = next(listener.target, 'gap', PATIENCE_MS);
    await cluster.move(await cluster.slotOf(moving), from, to);
    const { cause, direction, topics: missed } = await gap;
    assert.deepEqual([cause, direction, missed], ['connection-lost', 'in', [moving]]);
    const isOf = ({ type, id }) => `${type}:${id}` === moving;
    const before = heard.entries.filter(isOf).length;
    await eventually(() => heard.entries.filter(isOf).length >= before + 20, 'it goes on', PATIENCE_MS);
    await traffic.stop();
    await heard.has(({ payload }) => payload === traffic.last, 'the last number', PATIENCE_MS);
    assert.ok((await channelsAt(to)).includes(moving));
    assert.deepEqual([listener.all('gap').length, publisher.all('gap').length], [1, 0]);
    const missing = traffic.check(heard, listener.all('gap'));
    assert.deepEqual([...listener.all('error'), ...publisher.all('error')], []);
    assert.deepEqual([listener.target.state, listener.all('reconnecting')], ['open', []]);
    t.diagnostic(`${traffic.sent.length} sent, ${missing.length} missing, all of them in the gap`);
  });

  for (const [what, fail] of [
    ['CLUSTER FAILOVER', (_, replica) => replica.command('CLUSTER', 'FAILOVER')],
    ['the master is killed', (node) => node.kill()],
  ]) {
    test(`${what}: its replica takes over, one gap of its topics, the others miss nothing`, async (t) => {
      const cluster = await startCluster(t, { replicas: 1 });
      const { byMaster, topics, listener, publisher, heard } = await makePair(t, cluster);
      const doomed = cluster.masters[1];
      const replica = cluster.nodes[cluster.masters.length + 1];
      const lost = byMaster.get(doomed);
      const traffic = new Traffic(publisher.target, topics);
      await heard.reaches(200);
      const gap = next(listener.target, 'gap', PATIENCE_MS);
      await fail(doomed, replica);
      const { topics: missed } = await gap;
      assert.deepEqual([...missed].sort(), [...lost].sort());
      const isLost = ({ type, id }) => lost.includes(`${type}:${id}`);
      const before = heard.entries.filter(isLost).length;
      await eventually(() => heard.entries.filter(isLost).length >= before + 50, 'they go on', PATIENCE_MS);
      await traffic.stop();
      await publisher.target.flush();
      await heard.has(({ payload }) => payload === traffic.last, 'the last number', PATIENCE_MS);
      assert.deepEqual((await channelsAt(replica)).sort(), [...lost].sort());
      const gaps = [...listener.all('gap'), ...publisher.all('gap')];
      assert.equal(listener.all('gap').length, 1);
      assert.ok(publisher.all('gap').every(({ direction }) => direction === 'out'));
      const missing = traffic.check(heard, gaps);
      assert.ok(missing.every(({ topic }) => lost.includes(topic)));
      assert.deepEqual([listener.target.state, listener.all('reconnecting')], ['open', []]);
      assert.deepEqual(publisher.all('error'), []);
      t.diagnostic(`${traffic.sent.length} sent, ${missing.length} missing, all of them in gaps`);
    });
  }

  test('CLIENT KILL at one node: one gap of its topics, subscribed there again', async (t) => {
    const cluster = await startCluster(t);
    const { byMaster, listener, publisher, heard } = await makePair(t, cluster);
    for (const [node, lost] of byMaster) {
      const gap = next(listener.target, 'gap');
      await node.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
      assert.deepEqual([...(await gap).topics].sort(), [...lost].sort());
      const [type, id] = lost[0].split(':');
      publish(publisher.target, type, id, node.port);
      await heard.has(({ payload }) => payload === node.port, 'it goes on');
    }
    assert.equal(listener.target.stats().gaps, 3);
  });

  test('no node is left: the target reconnects, and one gap of everything is told when they are back', async (t) => {
    const cluster = await startCluster(t);
    const { topics, listener, publisher, heard } = await makePair(t, cluster);
    const lost = next(listener.target, 'reconnecting', PATIENCE_MS);
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    await lost;
    publish(publisher.target, ...topics[0].split(':'), 'meanwhile');
    const gap = next(listener.target, 'gap', PATIENCE_MS);
    await Promise.all(cluster.nodes.map((node) => node.start()));
    assert.deepEqual([...(await gap).topics].sort(), [...topics].sort());
    await publisher.target.ready();
    publish(publisher.target, ...topics[1].split(':'), 'after');
    await heard.has(({ payload }) => payload === 'after', 'what follows', PATIENCE_MS);
    assert.equal(listener.all('gap').length, 1);
  });
});
