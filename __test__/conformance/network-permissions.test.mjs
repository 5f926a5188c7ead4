// The permission matrix over the in-memory network.
import { createNetwork } from '../../dist/testing.js';
import { permissionMatrix } from './permissions.mjs';

permissionMatrix('a hub in an in-memory network', async (options) => {
  const network = createNetwork();
  const hub = network.hub('hub', options);
  await hub.ready();
  let spokes = 0;
  return { hub, spoke: () => network.spoke(`spoke ${++spokes}`, 'hub'), close: () => network.close() };
});
