// Hubs that call spokes: who may call whom, what a refusal says, what becomes of links.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { createHub } from '@alkdev/pubsub-native/hub';
import { eventually, Log, listenTo, next, within } from '../websocket/facts.mjs';
import { introduce, makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';

/** A spoke that waits, through an endpoint of its own: the promise of it is kept in an object, or awaiting this would wait for the call. */
async function waitingSpoke(t, accept, { endpoint, ...options } = {}) {
  const own = endpoint ?? (await makeEndpoint(t));
  const made = createIrohSpokeEventTarget({ endpoint: own, accept, ...options });
  t.after(() => made.then((spoke) => spoke.close({ timeoutMs: 0 })).catch(() => {}));
  return { endpoint: own, made };
}

/** Our end calls; the spoke is there when both say so. */
async function call(hub, hubEndpoint, { endpoint, made }) {
  introduce(hubEndpoint, endpoint);
  await within(hub.dial(endpoint.nodeId()), 'the hub has its spoke');
  return within(made, 'the spoke has its hub');
}

test('a spoke that waits is dialled, and events flow both ways', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const spoke = await call(hub, endpoint, await waitingSpoke(t, endpoint.nodeId()));
  const [atHub, atSpoke] = [listenTo(hub, 'a:'), listenTo(spoke, 'b:')];
  assert.deepEqual(await spoke.ready('b:'), { acknowledged: true });
  spoke.dispatchEvent(createEvent('a', '', 1));
  hub.dispatchEvent(createEvent('b', '', 2));
  await Promise.all([atHub.reaches(1), atSpoke.reaches(1)]);
  assert.deepEqual([atHub.entries[0].payload, atSpoke.entries[0].payload], [1, 2]);
});

test('a called spoke and one that dialled are connections of the same hub and hear each other', async (t) => {
  const seen = new Log();
  const authorize = { connect: ({ identity, transport }) => seen.push({ identity, transport }) ?? true };
  const { hub, endpoint } = await makeHub(t, { relay: true, authorize });
  const waiting = await waitingSpoke(t, 'any');
  const called = await call(hub, endpoint, waiting);
  const dialled = await makeSpoke(t, endpoint);
  const heard = listenTo(called, 'a:1');
  await called.ready('a:1');
  dialled.dispatchEvent(createEvent('a', '1', 'direct'));
  await heard.reaches(1);
  assert.deepEqual(seen.entries[0], { identity: `iroh:${waiting.endpoint.nodeId()}`, transport: 'iroh' });
  assert.equal(hub.connections.size, 2);
});

test('two spokes talk directly when one of them is a hub for the other, through the endpoints that they have', async (t) => {
  const { endpoint: far } = await makeHub(t, { relay: true });
  const [one, two] = [await makeEndpoint(t), await makeEndpoint(t)];
  await makeSpoke(t, far, { endpoint: one });
  await makeSpoke(t, far, { endpoint: two });
  const { hub } = await makeHub(t, { endpoint: one });
  const spoke = await call(hub, one, await waitingSpoke(t, one.nodeId(), { endpoint: two }));
  const heard = listenTo(hub, 'direct:1');
  spoke.dispatchEvent(createEvent('direct', '1', null));
  await heard.reaches(1);
});

test('who calls a spoke that waits for another hub is refused, and the spoke waits on', async (t) => {
  const [stranger, own] = [await makeHub(t), await makeHub(t)];
  const waiting = await waitingSpoke(t, own.endpoint.nodeId());
  introduce(stranger.endpoint, waiting.endpoint);
  await assert.rejects(stranger.hub.dial(waiting.endpoint.nodeId()), {
    code: 'ERR_FORBIDDEN',
    message: 'the spoke closed the connection with code 4403: the spoke waits for another hub',
  });
  await call(own.hub, own.endpoint, waiting);
  assert.equal(stranger.hub.connections.size, 0);
});

test('a hub asks authorize about whom it calls', async (t) => {
  const { hub, endpoint } = await makeHub(t, { authorize: { connect: () => false } });
  for (let round = 0; round < 5; round++) {
    const { endpoint: own, made } = await waitingSpoke(t, endpoint.nodeId());
    const refused = assert.rejects(made, {
      code: 'ERR_FORBIDDEN',
      message: /the hub closed .* 4403: the hub does not/,
    });
    introduce(endpoint, own);
    await assert.rejects(hub.dial(own.nodeId()), {
      code: 'ERR_FORBIDDEN',
      message: 'this hub turned the spoke away with code 4403: the hub does not let you in',
    });
    await within(refused, 'the spoke hears it');
  }
});

test('nobody there, a hub there, itself, nonsense, no endpoint, closed: each is an error of its own', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const other = await makeHub(t);
  const silent = await makeEndpoint(t);
  introduce(endpoint, other.endpoint);
  await assert.rejects(hub.dial(other.endpoint.nodeId()), { code: 'ERR_HANDSHAKE' });
  await assert.rejects(hub.dial(silent.nodeId()), { code: 'ERR_CONNECT', message: /no address of/ });
  await assert.rejects(hub.dial(endpoint.nodeId()), { code: 'ERR_INVALID_OPTION' });
  await assert.rejects(hub.dial('nonsense'), { code: 'ERR_INVALID_ID' });
  await assert.rejects(hub.dial(7), { code: 'ERR_INVALID_OPTION' });
  const bare = createHub();
  t.after(() => bare.close({ timeoutMs: 0 }));
  await assert.rejects(bare.dial(silent.nodeId()), { code: 'ERR_INVALID_OPTION', message: /no Iroh endpoint/ });
  await hub.close();
  await assert.rejects(hub.dial(other.endpoint.nodeId()), { code: 'ERR_CLOSED' });
});

test('options that cannot work are refused: both, neither, nonsense, a second spoke that waits at the endpoint', async (t) => {
  const { endpoint, made } = await waitingSpoke(t, 'any');
  const make = (options) => createIrohSpokeEventTarget({ endpoint, ...options });
  await assert.rejects(make({}), { code: 'ERR_INVALID_OPTION' });
  await assert.rejects(make({ accept: 'any', hubNodeId: endpoint.nodeId() }), { code: 'ERR_INVALID_OPTION' });
  await assert.rejects(make({ accept: 'nonsense' }), { code: 'ERR_INVALID_ID' });
  await assert.rejects(make({ accept: 'any' }), { code: 'ERR_LISTEN' });
  made.catch(() => {});
});

test('after a loss the spoke waits again, has one gap, and what was dispatched meanwhile comes', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const waiting = await waitingSpoke(t, endpoint.nodeId());
  const spoke = await call(hub, endpoint, waiting);
  const [gaps, heard] = [new Log(), listenTo(hub, 'up:')];
  spoke.addEventListener('gap', ({ detail }) => gaps.push(detail.topics));
  spoke.addEventListener('down:', () => {});
  await spoke.ready('down:');
  const lost = next(spoke, 'reconnecting');
  for (const connection of hub.connections) connection.close(1012, 'restart');
  await lost;
  spoke.dispatchEvent(createEvent('up', '', 'meanwhile'));
  await eventually(() => hub.connections.size === 0, 'the hub has let it go');
  await within(hub.dial(waiting.endpoint.nodeId()), 'called again');
  await Promise.all([gaps.reaches(1), heard.reaches(1)]);
  assert.deepEqual([gaps.entries, heard.entries[0].payload], [[['down:']], 'meanwhile']);
});

test('a spoke that has a hub answers no other, and one whose endpoint is closed waits for nobody', async (t) => {
  const [one, two] = [await makeHub(t), await makeHub(t, { limits: { handshakeMs: 200 } })];
  const waiting = await waitingSpoke(t, 'any');
  await call(one.hub, one.endpoint, waiting);
  introduce(two.endpoint, waiting.endpoint);
  await assert.rejects(two.hub.dial(waiting.endpoint.nodeId()), {
    code: 'ERR_TIMED_OUT',
    message: /^this hub turned the spoke away with code 4408/,
  });
  const idle = await waitingSpoke(t, 'any');
  idle.endpoint.close();
  await assert.rejects(within(idle.made, 'the end'), { code: 'ERR_CLOSED' });
});

test('a spoke that is closed while it waits is called by nobody any more, and its place is free', async (t) => {
  const { hub, endpoint } = await makeHub(t);
  const controller = new AbortController();
  const { endpoint: own, made } = await waitingSpoke(t, 'any', { signal: controller.signal });
  controller.abort();
  await assert.rejects(within(made, 'the end'));
  introduce(endpoint, own);
  await eventually(
    () =>
      hub.dial(own.nodeId()).then(
        () => false,
        ({ code }) => code === 'ERR_HANDSHAKE',
      ),
    'nobody takes calls',
  );
  await call(hub, endpoint, await waitingSpoke(t, 'any', { endpoint: own }));
});
