// The hub of the main job: listens on a free port of this machine and relays events between spokes, without seeing one in JavaScript.
// Arguments: the transport (links.mjs); the URL of a Redis that joins it to other hubs, if there is one.
import { follow, leave, tell, watch } from './child.mjs';
import { listen } from './links.mjs';

follow({
  async stop() {
    await hub.close();
    leave(losses);
  },
});

const [transport, redis] = process.argv.slice(2);
const hub = await listen(transport, redis && { url: redis, prefix: 'main-job:' });
const losses = watch(hub.target, 'hub');
hub.target.addEventListener('backpressure', () => tell('progress', losses));
tell('ready', { address: hub.address });
