// A hub and a spoke in one process, through the addon. Run by smoke.test.mjs in Node.js, Deno and Bun, from a folder where the package is
// installed as a user has it. Ends by itself with exit code 0: no call to exit.
import { createPubSub } from '@alkdev/pubsub-native';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';

const hub = createWebSocketServerEventTarget({ listen: { port: 0 } });
await hub.ready();
const spoke = createWebSocketClientEventTarget(hub.address.url);

const atSpoke = new Promise((resolve) =>
  spoke.addEventListener('greeting:all', (event) => resolve(event.detail), { once: true }),
);
const atHub = new Promise((resolve) => hub.addEventListener('answer:one', (event) => resolve(event.detail)));

await spoke.ready('greeting:all');
createPubSub({ eventTarget: hub }).publish('greeting', 'all', { text: 'gr\u00fc\u00df dich \u{1f600}', big: 2 ** 53 });
const greeting = await atSpoke;
createPubSub({ eventTarget: spoke }).publish('answer', 'one', greeting.payload);
const answer = await atHub;

await spoke.close();
await hub.close();
console.log(JSON.stringify({ greeting, answer, spoke: spoke.state, hub: hub.state }));
