// How the processes of the main job reach their hub, by transport: a hub on this machine, and spokes that find it by a text that it gives.
// Does not know lines, nor who publishes. Closing what it made closes the endpoint below as well.
import { createIrohGossipEventTarget } from '@alkdev/pubsub-native/event-target-iroh-gossip';
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
    return irohHub(endpoint, backplane, `iroh:${endpoint.ticket()}`);
  },

  /** No sockets: everything goes through the relay at `url`. Who reaches the relay and knows the ticket may come in. */
  async relay(backplane, url) {
    const endpoint = await Endpoint.createWithOptions({ bind: [], relays: [url] });
    await endpoint.online({ timeoutMs: 10_000 });
    return irohHub(endpoint, backplane, `relay:${url} ${endpoint.ticket()}`, { anyone: true });
  },

  /** No hub: the first member of a swarm, whom the others name when they join. */
  async gossip() {
    const endpoint = await Endpoint.createWithOptions({ bind: '127.0.0.1:0' });
    return swarmMember(endpoint, [], `gossip:${endpoint.ticket()}`);
  },
};

async function irohHub(endpoint, backplane, address, options) {
  const hub = await createIrohHubEventTarget({ endpoint, relay: true, backplane, ...options });
  return { target: hub, address, close: () => hub.close().then(() => endpoint.close()) };
}

const spokes = {
  async websocket(address) {
    const spoke = createWebSocketClientEventTarget(address);
    return { target: spoke, close: () => spoke.close() };
  },

  async iroh(ticket) {
    return irohSpoke(await Endpoint.createWithOptions({ bind: '127.0.0.1:0' }), ticket);
  },

  async relay(address) {
    const [url, ticket] = address.split(' ');
    return irohSpoke(await Endpoint.createWithOptions({ bind: [], relays: [url] }), ticket);
  },

  async gossip(ticket) {
    return swarmMember(await Endpoint.createWithOptions({ bind: '127.0.0.1:0' }), [ticket]);
  },
};

async function swarmMember(endpoint, bootstrap, address) {
  const member = await createIrohGossipEventTarget({ endpoint, topic: 'main job', bootstrap });
  return { target: member, address, close: () => member.close().then(() => endpoint.close()) };
}

async function irohSpoke(endpoint, ticket) {
  const spoke = await createIrohSpokeEventTarget({ endpoint, hubNodeId: ticket });
  return { target: spoke, close: () => spoke.close().then(() => endpoint.close()) };
}

/**
 * A hub that is bound, over `websocket`, `iroh` or `relay:URL`, or the first member of a swarm (`gossip`), and joined to others if there is a backplane: its target, its address for `dial`,
 * and how it is closed.
 */
export function listen(transport, backplane) {
  const [, name, url] = /^(\w+):?(.*)$/.exec(transport);
  return hubs[name](backplane, url);
}

/** A spoke of the hub at an address: its target, and how it is closed. */
export function dial(address) {
  const [, name, rest] = /^(iroh|relay|gossip):(.*)$/.exec(address) ?? [null, 'websocket', address];
  return spokes[name](rest);
}
