// A worker of storm.mjs: spokes over WebSocket and Iroh, a hub and a member of the process bus, all with traffic, none of them ever closed.
import { parentPort, workerData } from 'node:worker_threads';
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { Endpoint } from '@alkdev/pubsub-native/iroh';

const { url, id, sockets } = workerData;
const endpoint = await Endpoint.createWithOptions({
  bind: '127.0.0.1:0',
  addresses: { [id]: sockets },
  alpns: ['storm/1'],
});
// Calls that are pending when the worker ends.
endpoint.accept().catch(() => {});
const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
const targets = [
  createWebSocketClientEventTarget(url),
  createProcessEventTarget('storm'),
  await createIrohSpokeEventTarget({ endpoint, hubNodeId: id }),
];
for (const target of targets) target.addEventListener('storm:1', () => {});
await Promise.all([hub.ready(), ...targets.map((target) => target.ready('storm:1'))]);
const event = createEvent('storm', '1', { text: 'y'.repeat(200) });
setInterval(() => {
  for (const target of targets) {
    target.dispatchEvent(event);
    target.flush();
  }
}, 1);
parentPort.postMessage('live');
