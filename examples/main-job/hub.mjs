// The hub of the main job: listens on a free port of this machine and relays events between spokes, without seeing one in JavaScript.
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { follow, leave, tell, watch } from './child.mjs';

const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
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
