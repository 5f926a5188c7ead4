// Workers that are terminated with endpoints, hubs and spokes in them: nothing crashes, and the sockets are free again.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { eventually, within } from '../websocket/facts.mjs';
import { makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';
import { makeSwarm, peerOf, until } from './swarms.mjs';

const WORKERS = 100;

test(`${WORKERS} workers are terminated with live endpoints in them`, { timeout: 180_000 }, async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const data = { id: endpoint.nodeId(), sockets: endpoint.boundSockets() };
  let last;
  for (let n = 0; n < WORKERS; n++) {
    const worker = new Worker(new URL('fixtures/worker.mjs', import.meta.url), { workerData: data });
    const [message] = await within(once(worker, 'message'), `worker ${n} is connected`);
    last = message.sockets[0];
    assert.equal(await within(worker.terminate(), `worker ${n} ends`), 1);
  }
  // Closing goes on behind the worker's end.
  await eventually(() => makeEndpoint(t, { bind: last }).catch(() => false), 'the last socket is free');
  await makeSpoke(t, endpoint);
  assert.ok(hub.stats().accepted >= WORKERS);
});

test('workers are terminated with live members of a swarm in them, and the swarm goes on', {
  timeout: 120_000,
}, async (t) => {
  const [first] = await makeSwarm(t, 1);
  const topic = 'workers';
  const { createIrohGossipEventTarget } = await import('@alkdev/pubsub-native/event-target-iroh-gossip');
  const target = await createIrohGossipEventTarget({ endpoint: first.endpoint, topic, bootstrap: [] });
  t.after(() => target.close());
  const heard = new Set();
  target.addEventListener('a:b', ({ detail }) => heard.add(detail.payload));
  for (let n = 0; n < 20; n++) {
    const workerData = { topic, peer: peerOf(first.endpoint), n };
    const worker = new Worker(new URL('fixtures/member.mjs', import.meta.url), { workerData });
    await within(once(worker, 'message'), `worker ${n} has joined`);
    await until(() => heard.has(n), `worker ${n} is heard`);
    assert.equal(await within(worker.terminate(), `worker ${n} ends`), 1);
  }
  // Nobody said goodbye: each is found by its connection.
  await until(() => target.stats().neighbours === 0, 'all are gone');
});
