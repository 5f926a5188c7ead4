// Iroh targets in the conformance suite, direct connections on loopback, in every arrangement that a hub and its spokes can be in.

import { createIrohHubEventTarget } from '../../dist/event-target-iroh-hub.js';
import { createIrohSpokeEventTarget } from '../../dist/event-target-iroh-spoke.js';
import { createWebSocketClientEventTarget } from '../../dist/event-target-websocket-client.js';
import { createHub } from '../../dist/hub.js';
import { startRelay, withoutRelay } from '../../examples/p2p/relay-server.mjs';
import { bindEndpoint, introduce } from '../iroh/endpoints.mjs';
import { after, conformance } from './index.mjs';

const withoutEcho = { transport: true, echo: false, acknowledges: true };

async function closeAll(targets, endpoints) {
  await Promise.all(targets.map((target) => target.close()));
  await Promise.all(endpoints.map((endpoint) => endpoint.close()));
}

async function dial(hubEndpoint, options) {
  const endpoint = await bindEndpoint();
  introduce(endpoint, hubEndpoint);
  const spoke = await createIrohSpokeEventTarget({ endpoint, hubNodeId: hubEndpoint.nodeId(), ...options });
  return { endpoint, spoke };
}

async function hubAndSpokes(count, hubOptions = {}, options = {}) {
  const endpoint = await bindEndpoint();
  const hub = await createIrohHubEventTarget({ endpoint, ...hubOptions });
  const dialled = await Promise.all(Array.from({ length: count }, () => dial(endpoint, options)));
  const spokes = dialled.map(({ spoke }) => spoke);
  const close = () => closeAll([...spokes, hub], [...dialled.map((one) => one.endpoint), endpoint]);
  return { hub, spokes, close };
}

async function spokesAtRelay(options) {
  const { spokes, close } = await hubAndSpokes(2, { relay: true }, options);
  return { a: spokes[0], b: spokes[1], close };
}

conformance('two Iroh spokes at a relaying hub', () => spokesAtRelay(), withoutEcho);

conformance('two Iroh spokes with echo', () => spokesAtRelay({ echo: true }), { ...withoutEcho, echo: true });

conformance(
  'an Iroh spoke towards its hub',
  async () => {
    const { hub, spokes, close } = await hubAndSpokes(1);
    return { a: spokes[0], b: hub, close };
  },
  withoutEcho,
);

conformance(
  'an Iroh hub towards its spoke',
  async () => {
    const { hub, spokes, close } = await hubAndSpokes(1);
    return { a: hub, b: spokes[0], close };
  },
  withoutEcho,
);

conformance(
  'the target of one Iroh connection and its spoke',
  async () => {
    let connected;
    const connection = new Promise((resolve) => (connected = resolve));
    const { spokes, close } = await hubAndSpokes(1, { onConnection: (own) => connected(own) });
    return { a: await connection, b: spokes[0], close };
  },
  withoutEcho,
);

/** A hub that has called its spoke. */
async function called() {
  const [endpoint, other] = [await bindEndpoint(), await bindEndpoint()];
  introduce(endpoint, other);
  const hub = await createIrohHubEventTarget({ endpoint });
  const waiting = createIrohSpokeEventTarget({ endpoint: other, accept: endpoint.nodeId() });
  const [spoke] = await Promise.all([waiting, hub.dial(other.nodeId())]);
  return { hub, spoke, close: () => closeAll([spoke, hub], [other, endpoint]) };
}

conformance(
  'an Iroh spoke towards the hub that called it',
  async () => {
    const { hub, spoke, close } = await called();
    return { a: spoke, b: hub, close };
  },
  withoutEcho,
);

conformance(
  'an Iroh hub towards a spoke that it called',
  async () => {
    const { hub, spoke, close } = await called();
    return { a: hub, b: spoke, close };
  },
  withoutEcho,
);

/** One hub with both transports. */
async function mixed() {
  const endpoint = await bindEndpoint();
  const hub = createHub({ relay: true, websocket: { listen: { port: 0 } }, iroh: { endpoint } });
  await hub.ready();
  const { spoke, endpoint: other } = await dial(endpoint);
  const webSocketSpoke = createWebSocketClientEventTarget(hub.address.url);
  return { spoke, webSocketSpoke, close: () => closeAll([spoke, webSocketSpoke, hub], [other, endpoint]) };
}

conformance(
  'an Iroh spoke towards a WebSocket spoke of the same hub',
  async () => {
    const { spoke, webSocketSpoke, close } = await mixed();
    return { a: spoke, b: webSocketSpoke, close };
  },
  withoutEcho,
);

conformance(
  'a WebSocket spoke towards an Iroh spoke of the same hub',
  async () => {
    const { spoke, webSocketSpoke, close } = await mixed();
    return { a: webSocketSpoke, b: spoke, close };
  },
  withoutEcho,
);

/** One relay for all pairs that need one. */
let relay;
after(async () => (await relay)?.stop());

/** An endpoint without sockets: everything goes through the relay. */
async function atRelay(options) {
  relay ??= startRelay();
  const { url } = await relay;
  return bindEndpoint({ bind: [], relays: [url], ...options });
}

async function throughRelay(count, options) {
  const endpoint = await atRelay();
  await endpoint.online();
  const hub = await createIrohHubEventTarget({ endpoint, anyone: true, ...options });
  const others = await Promise.all(Array.from({ length: count }, () => atRelay()));
  const dialled = others.map((other) => createIrohSpokeEventTarget({ endpoint: other, hubNodeId: endpoint.ticket() }));
  const spokes = await Promise.all(dialled);
  return { hub, spokes, close: () => closeAll([...spokes, hub], [...others, endpoint]) };
}

conformance(
  'two Iroh spokes at a relaying hub, through an iroh relay alone',
  async () => {
    const { spokes, close } = await throughRelay(2, { relay: true });
    return { a: spokes[0], b: spokes[1], close };
  },
  withoutEcho,
  { skip: withoutRelay },
);

conformance(
  'an Iroh hub towards its spoke, through an iroh relay alone',
  async () => {
    const { hub, spokes, close } = await throughRelay(1);
    return { a: hub, b: spokes[0], close };
  },
  withoutEcho,
  { skip: withoutRelay },
);
