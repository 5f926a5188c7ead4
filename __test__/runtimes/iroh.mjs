// A hub and a spoke over Iroh in one process, on loopback. Run by smoke.test.mjs in Node.js, Deno and Bun. Leaves its endpoints open: ends by itself
// all the same, with exit code 0.
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { Endpoint } from '@alkdev/pubsub-native/iroh';

const keyFile = `key-${process.pid}`;
const endpoint = await Endpoint.createWithOptions({ bind: '127.0.0.1:0', keyFile });
const kept = await Endpoint.createWithOptions({ bind: '127.0.0.1:0', keyFile });
const hub = await createIrohHubEventTarget({ endpoint });
const own = await Endpoint.createWithOptions({
  bind: '127.0.0.1:0',
  addresses: { [endpoint.nodeId()]: endpoint.boundSockets() },
});
const dial = () => createIrohSpokeEventTarget({ endpoint: own, hubNodeId: endpoint.nodeId() });
const spoke = await dial();

const atHub = new Promise((resolve) => hub.addEventListener('up:', resolve, { once: true }));
const atSpoke = new Promise((resolve) => spoke.addEventListener('down:', resolve, { once: true }));
await spoke.ready('down:');
spoke.dispatchEvent(createEvent('up', '', { text: 'gr\u00fc\u00df dich \u{1f600}' }));
const first = await atHub;
hub.dispatchEvent(createEvent('down', '', first.detail.payload));
const heard = [first.detail.payload, (await atSpoke).detail.payload];
const identity = hub.sourceOf(first).identity === `iroh:${own.nodeId()}`;
await spoke.close();
endpoint.setAccess({ deny: [own.nodeId()] });
const refused = await dial().catch(({ code }) => code);

// A connection of the application's own, found by a ticket; the hub holds the process meanwhile.
const server = await Endpoint.createWithOptions({ bind: '127.0.0.1:0', alpns: ['raw/1'] });
const accepting = server.accept();
const near = await own.connect(server.ticket(), 'raw/1');
const far = await accepting;
const send = await near.openUni();
await send.writeAll(new TextEncoder().encode('one way'));
const received = far.acceptUni().then((recv) => recv.readToEnd(100));
await send.finish();
const raw = [new TextDecoder().decode(await received), near.paths()[0].kind, own.paths(server.nodeId()).length > 0];
await hub.close();
console.log(JSON.stringify({ heard, identity, refused, kept: kept.nodeId() === endpoint.nodeId(), raw }));
