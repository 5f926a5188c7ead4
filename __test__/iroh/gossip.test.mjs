// Gossip targets: what eight members hear, how they join and leave, what is refused.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohGossipEventTarget } from '@alkdev/pubsub-native/event-target-iroh-gossip';
import { within } from '../websocket/facts.mjs';
import { makeEndpoint } from './endpoints.mjs';
import { brisk, collect, collectLife, join, makeSwarm, peerOf, until } from './swarms.mjs';

const numbers = (count) => Array.from({ length: count }, (_, n) => n);
const say = (target, payload) => target.dispatchEvent(createEvent('a', 'b', payload));

test('eight members hear the events of all others once and in order, equal ones as often as they were dispatched', async (t) => {
  const members = await makeSwarm(t, 8);
  const heard = members.map(({ target }) => collect(target, 'a:b'));
  for (const [author, { target }] of members.entries())
    for (const n of numbers(100)) for (let twice = 0; twice < 2; twice++) say(target, { author, n });
  for (const [index, payloads] of heard.entries()) {
    await until(() => payloads.length >= 7 * 200, `member ${index} has heard all`);
    for (const author of numbers(8).filter((other) => other !== index))
      assert.deepEqual(
        payloads.filter((payload) => payload.author === author).map(({ n }) => n),
        numbers(100).flatMap((n) => [n, n]),
      );
    assert.equal(payloads.length, 7 * 200);
  }
});

test('the first member is open alone, and what it says then nobody misses', async (t) => {
  const [{ target, endpoint }] = await makeSwarm(t, 1);
  assert.equal(target.state, 'open');
  assert.deepEqual(await target.ready(), { acknowledged: true });
  say(target, 'nobody');
  await target.flush();
  assert.equal(target.stats().unrouted, 1);
  const second = await within(
    createIrohGossipEventTarget({
      endpoint: await makeEndpoint(t),
      topic: new Uint8Array(32).fill(7),
      bootstrap: [],
    }),
    'a topic by its id',
  );
  t.after(() => second.close());
  assert.equal(endpoint.nodeId().length, 64);
});

test('who reaches nobody is told, once or as often as it likes', async (t) => {
  const nobody = await makeEndpoint(t);
  const bootstrap = [peerOf(nobody)];
  const endpoint = await makeEndpoint(t);
  await assert.rejects(createIrohGossipEventTarget({ endpoint, topic: 'a', bootstrap, ...brisk }), {
    code: 'ERR_HANDSHAKE',
  });
  const controller = new AbortController();
  const options = { ...brisk, reconnect: { ...brisk.reconnect, initial: true }, signal: controller.signal };
  const waiting = createIrohGossipEventTarget({ endpoint, topic: 'a', bootstrap, ...options });
  setTimeout(() => controller.abort(), 300);
  await assert.rejects(waiting, { code: 'ERR_CLOSED' });
});

test('a ticket is enough to join by, and what is no ticket is refused at once', async (t) => {
  const [{ target, endpoint }] = await makeSwarm(t, 1);
  const options = { endpoint: await makeEndpoint(t), topic: 'by ticket', ...brisk };
  const first = await createIrohGossipEventTarget({ endpoint, topic: 'by ticket', bootstrap: [] });
  const second = await createIrohGossipEventTarget({ ...options, bootstrap: [endpoint.ticket()] });
  t.after(() => Promise.all([first.close(), second.close()]));
  const heard = collect(first, 'a:b');
  say(second, 1);
  await until(() => heard.length === 1, 'the event has come');
  assert.equal(target.stats().received, 0, 'another topic is another swarm');
  for (const bootstrap of [['endpointgarbage'], ['no id'], [7]])
    await assert.rejects(createIrohGossipEventTarget({ ...options, topic: 'other', bootstrap }), TypeError);
});

test('lists of the endpoint keep members out, and end what is there', async (t) => {
  const [one, two] = await makeSwarm(t, 2);
  const life = collectLife(two.target);
  const stranger = await makeEndpoint(t);
  one.endpoint.setAccess({ allow: [two.endpoint.nodeId()] });
  await assert.rejects(
    createIrohGossipEventTarget({ endpoint: stranger, topic: 'x', bootstrap: [peerOf(one.endpoint)], ...brisk }),
    { code: 'ERR_FORBIDDEN' },
  );
  one.endpoint.setAccess({ deny: [two.endpoint.nodeId()] });
  await until(() => two.target.state === 'reconnecting', 'it has no neighbour');
  assert.equal(life[0][0], 'reconnecting');
  assert.equal(life[0][1].cause.code, 'ERR_CONNECTION_LOST');
  one.endpoint.setAccess({});
  await until(() => two.target.state === 'open', 'it is back');
});

test('a partition of four and four heals by itself, and all are told of the gap', { timeout: 120_000 }, async (t) => {
  const members = await makeSwarm(t, 8);
  const heard = members.map(({ target }) => collect(target, 'a:b'));
  const lives = members.map(({ target }) => collectLife(target));
  const ids = members.map(({ endpoint }) => endpoint.nodeId());
  const halfOf = (index) => (index < 4 ? [0, 1, 2, 3] : [4, 5, 6, 7]);
  for (const [index, { endpoint }] of members.entries())
    endpoint.setAccess({ allow: halfOf(index).map((other) => ids[other]) });
  for (const { target } of members)
    await until(() => target.stats().neighbours > 0 && target.stats().missing >= 4, 'the other half is missing');
  for (const [author, { target }] of members.entries()) say(target, author);
  for (const [index, payloads] of heard.entries()) {
    await until(() => payloads.length >= 3, `member ${index} hears its half`);
    assert.deepEqual(
      payloads.toSorted(),
      halfOf(index).filter((other) => other !== index),
    );
  }
  for (const { endpoint } of members) endpoint.setAccess({});
  const hearsAll = () =>
    heard.every((payloads, index) => ids.every((_, other) => other === index || payloads.includes(`again ${other}`)));
  const talking = setInterval(() => {
    for (const [author, { target }] of members.entries()) say(target, `again ${author}`);
  }, 300);
  t.after(() => clearInterval(talking));
  await until(hearsAll, 'everybody hears everybody');
  clearInterval(talking);
  for (const [index, life] of lives.entries()) {
    const gap = life.find(([name]) => name === 'gap')?.[1];
    assert(['sequence', 'connection-lost'].includes(gap?.cause), `${index}: ${JSON.stringify(life)}`);
    assert.deepEqual(gap.topics, ['a:b']);
  }
});

test('the swarm goes on when its bootstrap leaves, and hears what that said last', async (t) => {
  const [first, ...others] = await makeSwarm(t, 4);
  const heard = others.map(({ target }) => collect(target, 'a:b'));
  say(first.target, 'goodbye');
  await first.target.close();
  await first.endpoint.close();
  for (const payloads of heard) await until(() => payloads.length === 1, 'the last word');
  say(others[0].target, 'hello');
  for (const payloads of heard.slice(1)) await until(() => payloads.includes('hello'), 'the others go on');
});

test('what is too large is refused, and what is wrong', async (t) => {
  const [{ target, endpoint }] = await makeSwarm(t, 1);
  assert.throws(() => say(target, 'x'.repeat(65_536)), { code: 'ERR_MESSAGE_TOO_LARGE' });
  say(target, 'x'.repeat(65_000));
  const make = (options) => createIrohGossipEventTarget({ endpoint, topic: 'other', bootstrap: [], ...options });
  const wrong = [
    [{ topic: '' }, 'ERR_INVALID_OPTION'],
    [{ topic: new Uint8Array(31) }, 'ERR_INVALID_OPTION'],
    [{ topic: '\ud800' }, 'ERR_INVALID_OPTION'],
    [{ bootstrap: undefined }, 'ERR_INVALID_OPTION'],
    [{ bootstrap: ['nobody'] }, 'ERR_INVALID_ID'],
    [{ bootstrap: [{ nodeId: endpoint.nodeId(), adresses: [] }] }, 'ERR_INVALID_OPTION'],
    [{ endpoint: {} }, 'ERR_INVALID_OPTION'],
    [{ limits: { maxMessageBytes: 65_537 } }, 'ERR_INVALID_OPTION'],
    [{ limits: { maxMalformed: 1 } }, 'ERR_INVALID_OPTION'],
    [{ reconnect: false }, 'ERR_INVALID_OPTION'],
    [{ peer: 'plain' }, 'ERR_INVALID_OPTION'],
  ];
  for (const [options, code] of wrong) await assert.rejects(make(options), { code }, JSON.stringify(options));
  // Itself among the members to begin with: there is nobody else.
  const alone = await within(make({ bootstrap: [endpoint.nodeId()] }), 'it is open at once');
  await assert.rejects(make({}), { code: 'ERR_LISTEN' });
  await alone.close();
  const again = await within(make({}), 'the topic is free again');
  await again.close();
  await endpoint.close();
  assert.equal((await target.closed).error.code, 'ERR_CLOSED');
  await assert.rejects(make({}), { code: 'ERR_CLOSED' });
});

test('a member that blocks for as long as a flood lasts hears all of it or of a gap', {
  timeout: 120_000,
}, async (t) => {
  const topic = `flood ${Math.random()}`;
  const publisher = await join(topic);
  t.after(() => void publisher.target.close({ timeoutMs: 0 }).then(() => publisher.endpoint.close()));
  const { Worker } = await import('node:worker_threads');
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL('./fixtures/blocked-member.mjs', import.meta.url), {
    workerData: { topic, peer: peerOf(publisher.endpoint), gate },
  });
  t.after(() => worker.terminate());
  const messages = [];
  worker.on('message', (message) => messages.push(message));
  await until(() => messages.includes('ready'), 'the reader is ready');
  const EVENTS = 30_000;
  const payload = 'x'.repeat(1000);
  worker.postMessage('block');
  await until(() => messages.includes('blocking'), 'the reader blocks');
  for (let n = 0; n < EVENTS; n++) {
    say(publisher.target, payload);
    if (n % 500 === 0) await publisher.target.drain();
  }
  await publisher.target.flush();
  await until(() => publisher.target.stats().sent === EVENTS, 'all was said');
  Atomics.store(gate, 0, 1);
  Atomics.notify(gate, 0);
  await until(() => messages.some(({ heard, dropped }) => heard + dropped >= EVENTS), 'all is accounted for');
  const { heard, dropped, stats } = messages.at(-1);
  assert.equal(heard + dropped, EVENTS, JSON.stringify(stats));
  // A MiB may wait there, besides what is in the inbox: much less than was said.
  assert(stats.overflowed > 0 && heard < EVENTS, JSON.stringify(stats));
});

test('closing with traffic, and again and again at one endpoint, leaves the others in peace', async (t) => {
  const [first] = await makeSwarm(t, 1);
  const endpoint = await makeEndpoint(t);
  const heard = collect(first.target, 'a:b');
  const topic = `again ${Math.random()}`;
  const other = await within(
    createIrohGossipEventTarget({ endpoint: first.endpoint, topic, bootstrap: [], ...brisk }),
    'another topic at the same endpoint',
  );
  t.after(() => other.close());
  const atOther = collect(other, 'a:b');
  for (const round of numbers(5)) {
    const member = await within(
      createIrohGossipEventTarget({ endpoint, topic, bootstrap: [peerOf(first.endpoint)], ...brisk }),
      'it has joined',
    );
    for (const n of numbers(50)) say(member, [round, n]);
    await member.close();
  }
  await until(() => atOther.length >= 250, 'all was heard');
  assert.deepEqual(
    atOther,
    numbers(5).flatMap((round) => numbers(50).map((n) => [round, n])),
  );
  assert.deepEqual(heard, []);
});
