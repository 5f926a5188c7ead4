// One thread of the example: a hub, a spoke of it that publishes, one that hears what the spokes of all other hubs publish.
import { parentPort, workerData } from 'node:worker_threads';
import { createEvent } from '@alkdev/pubsub-native';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';

const { number, hubs, events } = workerData;
const backplane = createProcessEventTarget('example');
const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true, backplane });
await hub.ready();
const { url } = hub.address;
const spoke = createWebSocketClientEventTarget(url);

/** The number that is expected next of each other hub. */
const next = new Map();
let [got, wrong, gaps] = [0, 0, 0];
const heardAll = new Promise((resolve) => {
  spoke.addEventListener('number:all', ({ detail: { payload } }) => {
    const [publisher, n] = payload;
    if (n !== (next.get(publisher) ?? 0)) wrong++;
    next.set(publisher, n + 1);
    if (++got === (hubs - 1) * events) resolve();
  });
  // What is missing will not come.
  spoke.addEventListener('gap', () => resolve(gaps++));
});
await spoke.ready('number:all');

/** Says something, and waits until all others have said it, too. */
const say = async (message) => {
  const answered = new Promise((resolve) => parentPort.once('message', resolve));
  parentPort.postMessage(message);
  await answered;
};

await say('ready');
for (let n = 0; n < events; n++) {
  spoke.dispatchEvent(createEvent('number', 'all', [number, n]));
  // So that no reader of any hub is flooded: what waits is on its way before more comes.
  if (n % 100 === 99) await spoke.flush();
}
await heardAll;
await say('heard');
await say({ number, url, got, wrong, gaps, stats: hub.stats() });
await spoke.close();
await hub.close();
await backplane.close();
