// How the processes of the main job reach their hub, by transport: a hub on this machine, and spokes that find it by a text that it gives.
// Does not know lines, nor who publishes. Closing what it made closes the endpoint below as well.
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { Endpoint } from '@alkdev/pubsub-native/iroh';

const hubs = {
  async websocket(backplane) {
    const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true, backplane });
    await hub.ready();
    return { target: hub, address: hub.address.url, close: () => hub.close() };
  },

  async iroh(backplane) {
    const endpoint = await Endpoint.createWithOptions({ bind: '127.0.0.1:0' });
    const hub = await createIrohHubEventTarget({ endpoint, relay: true, backplane });
    return {
      target: hub,
      address: `iroh:${endpoint.nodeId()}@${endpoint.boundSockets().join(',')}`,
      close: () => hub.close().then(() => endpoint.close()),
    };
  },
};

const spokes = {
  async websocket(address) {
    const spoke = createWebSocketClientEventTarget(address);
    return { target: spoke, close: () => spoke.close() };
  },

  async iroh(address) {
    const [hubNodeId, sockets] = address.slice('iroh:'.length).split('@');
    const addresses = { [hubNodeId]: sockets.split(',') };
    const endpoint = await Endpoint.createWithOptions({ bind: '127.0.0.1:0', addresses });
    const spoke = await createIrohSpokeEventTarget({ endpoint, hubNodeId });
    return { target: spoke, close: () => spoke.close().then(() => endpoint.close()) };
  },
};

/** A hub that is bound, over `websocket` or `iroh`, and joined to others if there is a backplane: its target, its address for `dial`, and how it is closed. */
export const listen = (transport, backplane) => hubs[transport](backplane);

/** A spoke of the hub at an address: its target, and how it is closed. */
export const dial = (address) => spokes[address.startsWith('iroh:') ? 'iroh' : 'websocket'](address);
