// Workers that are terminated with endpoints, hubs and spokes in them: nothing crashes, and the sockets are free again.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { eventually, within } from '../websocket/facts.mjs';
import { makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';

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
