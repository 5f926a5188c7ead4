// The hub of the main job: listens on a free port of this machine and relays events between spokes, without seeing one in JavaScript.
// Argument: the URL of a Redis that joins it to other hubs, if there is one.
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { follow, leave, tell, watch } from './child.mjs';

const [redis] = process.argv.slice(2);
const joined = redis === undefined ? {} : { backplane: { url: redis, prefix: 'main-job:' } };
const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true, ...joined });
const losses = watch(hub, 'hub');
hub.addEventListener('backpressure', () => tell('progress', losses));

follow({
  async stop() {
    await hub.close();
    leave(losses);
  },
});

await hub.ready();
tell('ready', { url: hub.address.url });
