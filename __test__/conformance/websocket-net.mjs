// A WebSocket hub and spokes of it, for suites that do not know transports.
import { createWebSocketClientEventTarget } from '../../dist/event-target-websocket-client.js';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';

export async function webSocketNet(options) {
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, ...options });
  await hub.ready();
  const targets = [];
  const spoke = () => {
    const target = createWebSocketClientEventTarget(hub.address.url);
    targets.push(target);
    return target;
  };
  const close = async () => {
    await Promise.all(targets.map((target) => target.close()));
    await hub.close();
  };
  return { hub, spoke, close };
}
