// Connections that are killed at random under load: whatever is missing lies in a gap that one of the targets told, nothing comes twice or out
// of order, and nothing is left behind.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, listenTo } from '../websocket/facts.mjs';
import { makeTarget, publish, watch } from './facts.mjs';
import { startRedis, withoutRedis } from './server.mjs';
import { Traffic } from './traffic.mjs';

const options = { skip: withoutRedis };

/** The ids of the connections of this name. */
async function idsOf(client, name) {
  const list = await client.call('CLIENT', 'LIST');
  const lines = list.split('\n').filter((line) => line.includes(` name=${name} `));
  return lines.map((line) => /^id=(\d+)/.exec(line)[1]);
}

/** What a listener hears and the gaps that it is told of, in order. */
function streamOf(target, topics) {
  const entries = [];
  for (const topic of topics)
    target.addEventListener(topic, ({ detail }) => entries.push({ topic, n: detail.payload }));
  target.addEventListener('gap', ({ detail }) => entries.push({ gap: detail }));
  return entries;
}

/** A gap of the topic stands where the number is missing: behind what was heard before it and before what was heard behind it. */
function isTold(stream, { n, topic }) {
  const before = stream.findLastIndex((entry) => entry.topic === topic && entry.n < n);
  const behind = stream.findIndex((entry) => entry.topic === topic && entry.n > n);
  return stream.slice(before + 1, behind < 0 ? undefined : behind).some(({ gap }) => gap?.topics.includes(topic));
}

test('CLIENT KILL of either end at random, forty times, under load', options, async (t) => {
  const server = await startRedis(t);
  const topics = ['a:1', 'a:2', 'b:'];
  const publisher = makeTarget(t, server, { clientName: 'publisher' });
  const listener = makeTarget(t, server, { clientName: 'listener' });
  const ends = [watch(publisher), watch(listener)];
  const heard = listenTo(listener, ...topics);
  const stream = streamOf(listener, topics);
  await Promise.all(topics.map((topic) => listener.ready(topic)));
  await publisher.ready();
  const client = server.client();
  const traffic = new Traffic(publisher, topics, 1);
  const kills = [];
  while (kills.length < 40) {
    const name = Math.random() < 0.5 ? 'publisher' : 'listener';
    const ids = await idsOf(client, name);
    if (ids.length === 0) continue;
    const at = Math.floor(Math.random() * ids.length);
    await client.call('CLIENT', 'KILL', 'ID', ids[at]).then(
      () => kills.push(`${name} ${at + 1}`),
      // It was made anew meanwhile.
      () => {},
    );
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
  }
  t.diagnostic(`killed: ${kills.join(', ')}`);
  await traffic.stop();
  await Promise.all([publisher.ready(), listener.ready()]);
  await eventually(() => publisher.state === 'open' && listener.state === 'open', 'both are back');
  publish(publisher, 'b', '', 'last');
  await heard.has(({ payload }) => payload === 'last', 'the last one');
  heard.entries.pop();
  const gaps = ends.flatMap(({ all }) => all('gap'));
  // What was dispatched and on its way when a listener was cut off is earlier than its gap by the clock, and within it by the order of things.
  const here = traffic.sent
    .filter((one) => isTold(stream, one))
    .map(({ at, topic }) => ({ from: at, to: at, topics: [topic] }));
  const missing = traffic.check(heard, [...here, ...ends[0].all('gap')]);
  assert.ok(gaps.length > 0 && gaps.length <= kills.length, `${gaps.length} gaps`);
  assert.deepEqual(
    ends.flatMap(({ all }) => all('error')),
    [],
  );
  for (const name of ['publisher', 'listener']) assert.equal((await idsOf(client, name)).length, 2, name);
  t.diagnostic(`${traffic.sent.length} sent, ${missing.length} missing, all of them in ${gaps.length} gaps`);
});

test('a server that comes back is not overrun: two hundred targets, and each connects once', options, async (t) => {
  const server = await startRedis(t, '--maxclients', '450');
  const targets = Array.from({ length: 200 }, () => makeTarget(t, server));
  for (const target of targets) listenTo(target, 'a:');
  await Promise.all(targets.map((target) => target.ready('a:')));
  const back = targets.map((target) => watch(target));
  await server.kill();
  await eventually(() => targets.every(({ state }) => state === 'reconnecting'), 'all have noticed');
  await server.start();
  await eventually(() => back.every(({ all }) => all('gap').length === 1), 'all are back');
  assert.ok(targets.every((target) => target.stats().connects === 2));
  assert.equal(Number((await server.command('PUBSUB', 'NUMSUB', 'a:'))[1]), 200);
});
