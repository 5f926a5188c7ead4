// Classic channels in a real cluster: any node takes us, whatever any node is told arrives, and a node that dies is one gap.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventually, listenTo, next, within } from '../websocket/facts.mjs';
import { makeWatched } from './facts.mjs';
import { startRedis, withoutRedis } from './server.mjs';
import { PATIENCE_MS, startCluster } from './sets.mjs';
import { hearsMany, manyTopics, publishToMany, Traffic } from './traffic.mjs';

const options = { skip: withoutRedis, concurrency: 1 };
const topics = ['a:1', 'a:2', 'b:'];

/** The node that has the connections of this name. */
async function nodeOf(cluster, clientName) {
  for (const node of cluster.nodes) {
    const clients = await node.command('CLIENT', 'LIST').catch(() => '');
    if (clients.includes(`name=${clientName} `)) return node;
  }
  throw new Error(`nobody has ${clientName}`);
}

describe('classic channels in a cluster', options, () => {
  test('a thousand topics: each event once and in order, whichever node either end is at', async (t) => {
    const cluster = await startCluster(t);
    const { target: listener } = makeWatched(t, cluster.options);
    const publishers = [1, 2, 3].map(() => makeWatched(t, cluster.options).target);
    const heard = listenTo(listener, ...manyTopics);
    await Promise.all([listener, ...publishers].map((target) => target.ready()));
    publishToMany(publishers);
    await hearsMany(heard, publishers, PATIENCE_MS);
  });

  test('a node that is killed: subscribed again at another, one gap, nothing missing outside of it', async (t) => {
    const cluster = await startCluster(t);
    const listener = makeWatched(t, { ...cluster.options, clientName: 'listener' });
    const publisher = makeWatched(t, { ...cluster.options, clientName: 'publisher' });
    const heard = listenTo(listener.target, ...topics);
    await Promise.all([publisher.target.ready(), listener.target.ready()]);
    const traffic = new Traffic(publisher.target, topics);
    await heard.reaches(200);
    const gap = next(listener.target, 'gap', PATIENCE_MS);
    await (await nodeOf(cluster, 'listener')).kill();
    await gap;
    await eventually(() => publisher.target.state === 'open', 'the publisher is back', PATIENCE_MS);
    await heard.reaches(heard.length + 200, PATIENCE_MS);
    await traffic.stop();
    await heard.has(({ payload }) => payload === traffic.last, 'the last number', PATIENCE_MS);
    const gaps = listener.all('gap');
    assert.equal(gaps.length, 1);
    assert.deepEqual([gaps[0].cause, [...gaps[0].topics].sort()], ['connection-lost', topics]);
    // The other node may be behind: it says again what the first one has said.
    const missing = traffic.check(heard, [...gaps, ...publisher.all('gap')], { mayRepeat: true });
    t.diagnostic(
      `${traffic.sent.length} sent, ${missing.length} missing, all of them in gaps, ${traffic.repeated} heard twice`,
    );
  });

  test('a server that is in no cluster is the end at once; nodes that are gone are passed over', async (t) => {
    const single = await startRedis(t);
    const { target } = makeWatched(t, { nodes: [single.url] });
    const { error } = await within(target.closed, 'the end');
    assert.equal(error.code, 'ERR_INVALID_OPTION');
    assert.match(error.message, /cluster support disabled/);
    const cluster = await startCluster(t);
    const found = makeWatched(t, { nodes: [{ host: '127.0.0.1', port: 1 }, cluster.nodes[2].url] });
    await found.target.ready();
    assert.deepEqual(found.all('reconnecting'), []);
  });
});
