// The installed package where its addon is missing: the core, the error of a hub, and a spoke over the runtime's WebSocket. Prints what
// happened. Usage: without.mjs URL-OF-A-HUB
import { createPubSub } from '@alkdev/pubsub-native';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';

const result = {};
const { publish, subscribe } = createPubSub();
const subscription = subscribe('greeting', 'all');
publish('greeting', 'all', 'core');
result.core = (await subscription.next()).value.payload;
await subscription.return();

try {
  await import('@alkdev/pubsub-native/event-target-websocket-server');
} catch (error) {
  result.hub = { code: error.code, message: error.message };
}

if (globalThis.WebSocket !== undefined) {
  const reader = createWebSocketClientEventTarget(process.argv[2]);
  const writer = createWebSocketClientEventTarget(process.argv[2]);
  const heard = createPubSub({ eventTarget: reader }).subscribe('greeting', 'all');
  await heard.ready;
  createPubSub({ eventTarget: writer }).publish('greeting', 'all', 'spoke');
  result.spoke = (await heard.next()).value.payload;
  await heard.return();
  await Promise.all([reader.close(), writer.close()]);
}
console.log(JSON.stringify(result));
