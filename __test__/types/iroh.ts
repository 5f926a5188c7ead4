// Compiled, never run: the types of Iroh endpoints, hubs and spokes.
import type { EventsOf, NativeTarget } from '@alkdev/pubsub-native';
import { createIrohGossipEventTarget } from '@alkdev/pubsub-native/event-target-iroh-gossip';
import {
  createIrohHubEventTarget,
  type HubEventTarget,
  type IrohHubEventTarget,
} from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { createHub } from '@alkdev/pubsub-native/hub';
import {
  type Connection,
  type ConnectionEnd,
  Endpoint,
  formatTicket,
  type IncomingFilter,
  type IncomingInfo,
  parseNodeId,
  parseTicket,
  type SendStream,
} from '@alkdev/pubsub-native/iroh';

type Events = EventsOf<{ 'chat.msg': { n: number } }>;

export async function endpoints(): Promise<string> {
  const endpoint: Endpoint = await Endpoint.create();
  await Endpoint.createWithOptions({
    bind: ['0.0.0.0:0', '[::]:0'],
    relays: [{ url: 'https://relay.example', token: 't' }],
  });
  const incoming: IncomingFilter = ({ nodeId, alpn, remoteAddress = '', relay }: IncomingInfo) =>
    nodeId !== alpn && remoteAddress.startsWith('127.') && relay === undefined;
  await Endpoint.createWithOptions({ incoming: async (info) => incoming(info), incomingTimeoutMs: 1000 });
  // @ts-expect-error: an answer is needed
  await Endpoint.createWithOptions({ incoming: () => {} });
  // @ts-expect-error: no such word
  await Endpoint.createWithOptions({ relays: 'public' });
  // @ts-expect-error: endpoints are made by create
  new Endpoint();
  endpoint.setAccess({ allow: [parseNodeId('x')], deny: [] });
  endpoint.ref().unref();
  endpoint.addAddress('ticket');
  for await (const addresses of endpoint.watchAddr({ timeoutMs: 1 })) {
    const text: string = parseTicket(formatTicket({ nodeId: endpoint.nodeId(), addresses })).nodeId;
    endpoint.addAddress(text, addresses);
  }
  await endpoint.online({ signal: AbortSignal.timeout(1) });
  const relayed: boolean = endpoint.paths('x').some(({ kind, selected }) => kind === 'relay' && selected);
  const error: string | undefined = endpoint.relays()[0]?.error;
  const live: number = endpoint.stats().connections;
  return `${endpoint.ticket()} ${relayed} ${error} ${live}`;
}

export async function targets(endpoint: Endpoint): Promise<void> {
  const hub: HubEventTarget<Events> = await createIrohHubEventTarget<Events>({ endpoint, alpn: 'mine/1', relay: true });
  const spoke: NativeTarget<Events> = await createIrohSpokeEventTarget<Events>({
    endpoint,
    hubNodeId: 'x',
    reconnect: { initial: true },
  });
  spoke.addEventListener('chat.msg:r1', (event) => event.detail.payload.n.toFixed());
  createHub<Events>({ iroh: { endpoint }, websocket: { listen: { port: 0 } } });
  const calling: IrohHubEventTarget<Events> = createHub<Events>({ iroh: { endpoint } });
  await calling.dial('x', { timeoutMs: 100 });
  await createIrohSpokeEventTarget<Events>({ endpoint, accept: 'any' });
  // @ts-expect-error: it dials or it waits
  await createIrohSpokeEventTarget({ endpoint, accept: 'any', hubNodeId: 'x' });
  // @ts-expect-error: an endpoint is needed
  await createIrohHubEventTarget({});
  // @ts-expect-error: whose spoke?
  await createIrohSpokeEventTarget({ endpoint });
  await hub.close();
}

export async function swarm(endpoint: Endpoint): Promise<void> {
  const member: NativeTarget<Events> = await createIrohGossipEventTarget<Events>({
    endpoint,
    topic: new Uint8Array(32),
    bootstrap: ['x', { nodeId: 'y', addresses: ['127.0.0.1:1'] }],
    reconnect: { initial: true },
    limits: { heartbeatMs: 1000 },
  });
  member.addEventListener('chat.msg:r1', (event) => event.detail.payload.n.toFixed());
  await createIrohGossipEventTarget({ endpoint, topic: 'chat', bootstrap: [] });
  // @ts-expect-error: say that it is the first with an empty list
  await createIrohGossipEventTarget({ endpoint, topic: 'chat' });
  // @ts-expect-error: nobody is cut off for what others pass on
  await createIrohGossipEventTarget({ endpoint, topic: 'chat', bootstrap: [], limits: { maxMalformed: 1 } });
  await member.close();
}

export async function connections(endpoint: Endpoint): Promise<Uint8Array> {
  const connection: Connection = await endpoint.connect('x', 'mine/1', { timeoutMs: 1000 });
  const { send, recv } = await connection.openBi({ signal: AbortSignal.timeout(1000) });
  await send.writeAll(new Uint8Array(3));
  // @ts-expect-error: bytes, not text
  await send.writeAll('abc');
  const one: SendStream = await connection.openUni();
  one.reset(3);
  (await connection.acceptUni({ timeoutMs: 1 })).stop();
  const end: ConnectionEnd | undefined = connection.closeReason();
  // @ts-expect-error: only the other side writes it
  (await connection.acceptUni()).writeAll(new Uint8Array(1));
  connection.close(end?.code, String(connection.stats().sentBytes + connection.paths().length));
  return recv.readExact(3);
}
