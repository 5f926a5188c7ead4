// WebSocket targets in the conformance suite, in every arrangement that a hub and its spokes can be in.
import { WebSocket } from 'ws';
import { createWebSocketClientEventTarget } from '../../dist/event-target-websocket-client.js';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { conformance } from './index.mjs';

const withoutEcho = { transport: true, echo: false, acknowledges: true };

async function listenOn(options) {
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, ...options });
  await hub.ready();
  return { hub, url: hub.address.url };
}

const closeAll = async (...targets) => void (await Promise.all(targets.map((target) => target.close())));

async function spokesAtRelay(options = {}) {
  const { hub, url } = await listenOn({ relay: true });
  const [a, b] = [createWebSocketClientEventTarget(url, options), createWebSocketClientEventTarget(url, options)];
  return { a, b, close: () => closeAll(a, b, hub) };
}

async function hubAndSpoke(options = {}) {
  const { hub, url } = await listenOn(options);
  const spoke = createWebSocketClientEventTarget(url, options);
  return { hub, spoke, close: () => closeAll(spoke, hub) };
}

conformance('two WebSocket spokes at a relaying hub', spokesAtRelay, withoutEcho);

conformance('two WebSocket spokes with echo', () => spokesAtRelay({ echo: true }), { ...withoutEcho, echo: true });

conformance(
  'a WebSocket spoke towards its hub',
  async () => {
    const { hub, spoke, close } = await hubAndSpoke();
    return { a: spoke, b: hub, close };
  },
  withoutEcho,
);

conformance(
  'a WebSocket hub towards its spoke',
  async () => {
    const { hub, spoke, close } = await hubAndSpoke();
    return { a: hub, b: spoke, close };
  },
  withoutEcho,
);

conformance(
  'the target of one connection and its spoke',
  async () => {
    let connected;
    const connection = new Promise((resolve) => (connected = resolve));
    const { hub, url } = await listenOn({ onConnection: (own) => connected(own) });
    const spoke = createWebSocketClientEventTarget(url);
    const a = await connection;
    return { a, b: spoke, close: () => closeAll(spoke, hub) };
  },
  withoutEcho,
);

conformance(
  'spokes over WebSocket objects of `ws` at a relaying hub',
  async () => {
    const { hub, url } = await listenOn({ relay: true });
    const sockets = [new WebSocket(url), new WebSocket(url)];
    const [a, b] = sockets.map((socket) => createWebSocketClientEventTarget(socket));
    const close = async () => {
      await closeAll(a, b);
      for (const socket of sockets) socket.on('error', () => {}).close();
      await hub.close();
    };
    return { a, b, close };
  },
  withoutEcho,
);
