// Imports every entry point of the installed package, sends an event through each target that needs no server, and prints what came.
// Usage: esm.mjs ENTRIES (JSON) PATH-OF-WORKER
import { Worker } from 'node:worker_threads';
import { createEvent, createMemoryEventTarget, createPubSub } from '@alkdev/pubsub-native';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { createWorkerHostEventTarget } from '@alkdev/pubsub-native/event-target-worker';
import { Endpoint } from '@alkdev/pubsub-native/iroh';
import { createNetwork } from '@alkdev/pubsub-native/testing';

const [entries, worker] = process.argv.slice(2);
const imported = {};
for (const name of JSON.parse(entries)) imported[name] = Object.keys(await import(name)).length > 0;

const event = createEvent('greeting', 'all', { text: 'grüß dich' });

/** What `to` hears of an event that `from` dispatches, when its subscription is active. */
async function pass(from, to) {
  const heard = new Promise((resolve) =>
    to.addEventListener('greeting:all', ({ detail }) => resolve(detail.payload.text), { once: true }),
  );
  await to.ready('greeting:all');
  from.dispatchEvent(event);
  return heard;
}

const heard = {};

const memory = createMemoryEventTarget();
heard.memory = await pass(memory, memory);

const { publish, subscribe } = createPubSub();
const subscription = subscribe('greeting', 'all');
publish('greeting', 'all', event.detail.payload);
heard.pubsub = (await subscription.next()).value.payload.text;
await subscription.return();

const hub = createWebSocketServerEventTarget({ listen: { port: 0 } });
await hub.ready();
const spoke = createWebSocketClientEventTarget(hub.address.url);
heard.websocket = await pass(hub, spoke);
await spoke.close();
await hub.close();

const atHub = await Endpoint.createWithOptions({ bind: '127.0.0.1:0' });
const addresses = { [atHub.nodeId()]: atHub.boundSockets() };
const atSpoke = await Endpoint.createWithOptions({ bind: '127.0.0.1:0', addresses });
const irohHub = await createIrohHubEventTarget({ endpoint: atHub });
const irohSpoke = await createIrohSpokeEventTarget({ endpoint: atSpoke, hubNodeId: atHub.nodeId() });
heard.iroh = await pass(irohHub, irohSpoke);
await irohSpoke.close();
await irohHub.close();
await Promise.all([atSpoke.close(), atHub.close()]);

const members = [createProcessEventTarget('install'), createProcessEventTarget('install')];
heard.process = await pass(...members);
await Promise.all(members.map((member) => member.close()));

const thread = new Worker(worker);
const host = createWorkerHostEventTarget(thread);
const answer = new Promise((resolve) =>
  host.addEventListener('answer:all', ({ detail }) => resolve(detail.payload.text)),
);
await host.ready('answer:all');
host.dispatchEvent(event);
heard.worker = await answer;
await host.close();
await thread.terminate();

const network = createNetwork();
const networkHub = network.hub('hub');
const networkSpoke = network.spoke('spoke', 'hub');
heard.network = await pass(networkHub, networkSpoke);
await network.close();

console.log(JSON.stringify({ imported, heard }));
