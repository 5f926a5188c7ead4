// The permission matrix over Iroh.
import { createIrohHubEventTarget } from '../../dist/event-target-iroh-hub.js';
import { createIrohSpokeEventTarget } from '../../dist/event-target-iroh-spoke.js';
import { bindEndpoint, introduce } from '../iroh/endpoints.mjs';
import { permissionMatrix } from './permissions.mjs';

permissionMatrix('an Iroh hub', async (options) => {
  const [hubEndpoint, endpoint] = [await bindEndpoint(), await bindEndpoint()];
  introduce(endpoint, hubEndpoint);
  const hub = await createIrohHubEventTarget({ endpoint: hubEndpoint, ...options });
  const spoke = () => createIrohSpokeEventTarget({ endpoint, hubNodeId: hubEndpoint.nodeId() });
  const close = async () => {
    await hub.close();
    await Promise.all([endpoint.close(), hubEndpoint.close()]);
  };
  return { hub, spoke, own: `iroh:${endpoint.nodeId()}`, close };
});
