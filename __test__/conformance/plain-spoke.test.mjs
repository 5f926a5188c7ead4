// The spoke in plain TypeScript against the native hub, over sockets of `ws` and, where the runtime has it, the global WebSocket class.
import { WebSocket } from 'ws';
import { createWebSocketClientEventTarget } from '../../dist/browser/event-target-websocket-client.js';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { conformance } from './index.mjs';
import { permissionMatrix } from './permissions.mjs';

const withoutEcho = { transport: true, echo: false, acknowledges: true };
const closeAll = async (...targets) => void (await Promise.all(targets.map((target) => target.close())));

async function listenOn(options) {
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, ...options });
  await hub.ready();
  return hub;
}

function spokesOver(socketClass) {
  return async () => {
    const hub = await listenOn({ relay: true });
    const make = () => createWebSocketClientEventTarget(hub.address.url, { WebSocket: socketClass });
    const [a, b] = [make(), make()];
    return { a, b, close: () => closeAll(a, b, hub) };
  };
}

async function hubAndSpoke() {
  const hub = await listenOn();
  const spoke = createWebSocketClientEventTarget(hub.address.url, { WebSocket });
  return { hub, spoke, close: () => closeAll(spoke, hub) };
}

conformance('two plain spokes over `ws` at a relaying native hub', spokesOver(WebSocket), withoutEcho);

conformance(
  'a plain spoke towards its native hub',
  async () => {
    const { hub, spoke, close } = await hubAndSpoke();
    return { a: spoke, b: hub, close };
  },
  withoutEcho,
);

conformance(
  'a native hub towards its plain spoke',
  async () => {
    const { hub, spoke, close } = await hubAndSpoke();
    return { a: hub, b: spoke, close };
  },
  withoutEcho,
);

conformance('two plain spokes over the global WebSocket', spokesOver(globalThis.WebSocket), withoutEcho, {
  skip:
    globalThis.WebSocket === undefined &&
    'this runtime has no global WebSocket (Node.js 22 and newer, Deno and Bun have it)',
});

permissionMatrix('a plain spoke', async (options) => {
  const hub = await listenOn(options);
  const spokes = [];
  const spoke = () => {
    const target = createWebSocketClientEventTarget(hub.address.url, { WebSocket });
    spokes.push(target);
    return target;
  };
  return { hub, spoke, close: () => closeAll(...spokes, hub) };
});
