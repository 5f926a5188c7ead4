// The hub of the main job: listens on a free port of this machine and relays events between spokes, without seeing one in JavaScript.
// Argument: the transport.
import { follow, leave, tell, watch } from './child.mjs';
import { listen } from './links.mjs';

follow({
  async stop() {
    await hub.close();
    leave(losses);
  },
});

const hub = await listen(process.argv[2]);
const losses = watch(hub.target, 'hub');
hub.target.addEventListener('backpressure', () => tell('progress', losses));
tell('ready', { address: hub.address });
