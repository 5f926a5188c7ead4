// Requires every entry point of the installed package. Usage: commonjs.cjs ENTRIES (JSON)
const required = {};
for (const name of JSON.parse(process.argv[2])) required[name] = Object.keys(require(name)).length > 0;
const { createPubSub } = require('@alkdev/pubsub-native');
const { createWebSocketServerEventTarget } = require('@alkdev/pubsub-native/event-target-websocket-server');
const { createWebSocketClientEventTarget } = require('@alkdev/pubsub-native/event-target-websocket-client');

(async () => {
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 } });
  await hub.ready();
  const spoke = createWebSocketClientEventTarget(hub.address.url);
  const messages = createPubSub({ eventTarget: spoke }).subscribe('greeting', 'all');
  await messages.ready;
  createPubSub({ eventTarget: hub }).publish('greeting', 'all', { text: 'grüß dich' });
  const { value } = await messages.next();
  await messages.return();
  await spoke.close();
  await hub.close();
  console.log(JSON.stringify({ required, heard: value.payload.text }));
})();
