// What must compile and what must not: the WebSocket factories. Checked by tsc, never run.

import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { TypedEventTarget as YogaTarget } from '@graphql-yoga/typed-event-target';
import { createWebSocketClientEventTarget as inBrowsers } from '../../ts/browser/event-target-websocket-client.js';
import { createWebSocketClientEventTarget } from '../../ts/event-target-websocket-client.js';
import {
  type Connection,
  createWebSocketServerEventTarget,
  type HubEventTarget,
  type WebSocketFeed,
  type WebSocketHubEventTarget,
} from '../../ts/event-target-websocket-server.js';
import { createHub } from '../../ts/hub.js';
import { createPubSub, type EventsOf, type NativeTarget } from '../../ts/index.js';

interface Events {
  'chat.msg': { n: number };
}

type Event = EventsOf<Events>;

declare function expect<T>(value: T): void;

const hub = createWebSocketServerEventTarget<Event>({
  listen: { port: 0 },
  relay: true,
  tls: { cert: Buffer.from(''), key: '/path' },
  limits: { heartbeatMs: 1000, maxConnections: 5 },
  async onConnection(spoke, connection) {
    expect<NativeTarget<Event>>(spoke);
    expect<AbortSignal>(connection.signal);
    connection.data = { user: 1 };
    spoke.addEventListener('chat.msg:r1', ({ detail }) => expect<number>(detail.payload.n));
  },
  onBackpressure: (connection, bufferedAmount) => expect<[Connection, number]>([connection, bufferedAmount]),
});
expect<HubEventTarget<Event>>(hub);
expect<NativeTarget<Event>>(hub);
expect<YogaTarget<Event>>(hub);
createPubSub<Events>({ eventTarget: hub }).publish('chat.msg', 'r1', { n: 1 });
hub.addEventListener('disconnection', ({ detail }) => expect<boolean>(detail.clean));
hub.addEventListener('chat.msg:r1', (event) => expect<Connection | undefined>(hub.sourceOf(event)));
for (const connection of hub.connections) connection.close(4000, 'enough');
expect<{ readonly url: string } | null>(hub.address);
createWebSocketServerEventTarget({ relay: true });
createWebSocketServerEventTarget();
// @ts-expect-error: no such option
createWebSocketServerEventTarget({ listen: { port: 0 }, relays: true });

const both = createHub<Event>({ websocket: { listen: { port: 0 }, anyone: true }, relay: true });
expect<WebSocketHubEventTarget<Event>>(both);
expect<HubEventTarget<Event>>(both);
expect<WebSocketHubEventTarget<Event>>(hub);
{
  using attachment = both.attach(createServer(), { path: '/events', adopt: false });
  attachment.detach();
}
both.attach(createTlsServer({}));
createServer().on('upgrade', (request, socket, head) => both.handleUpgrade(request, socket, head));
declare const standard: WebSocket;
declare const request: Request;
declare const incoming: IncomingMessage;
expect<WebSocketFeed>(both.addConnection(standard, { request }));
both.addConnection({ send: (data: string) => data.length, close: () => {} }, { request: incoming }).message('');
both.addConnection(standard, { request: { url: '/', headers: { a: 'b' } }, remoteAddress: '127.0.0.1:1' });
both.removeConnection(standard);
// @ts-expect-error: no server
both.attach({});
// @ts-expect-error: no WebSocket
both.addConnection({ send() {} });
// @ts-expect-error: not built
createHub({ iroh: {} });

const spoke = createWebSocketClientEventTarget<Event>('ws://127.0.0.1:1', {
  reconnect: { initial: false },
  signal: AbortSignal.timeout(1),
});
expect<NativeTarget<Event>>(spoke);
createWebSocketClientEventTarget(async () => 'ws://127.0.0.1:1', {
  headers: async () => ({ authorization: 'x' }),
  reconnect: false,
});
createWebSocketClientEventTarget(new URL('ws://127.0.0.1:1'), { peer: 'plain' });
createWebSocketClientEventTarget<Event>(new WebSocket('ws://127.0.0.1:1'), { helloTimeoutMs: 5 });
createWebSocketClientEventTarget('ws://127.0.0.1:1', { WebSocket });
// @ts-expect-error: no class of sockets
createWebSocketClientEventTarget('ws://127.0.0.1:1', { WebSocket: Date });
// The factory of browsers takes what the native one takes.
expect<typeof createWebSocketClientEventTarget>(inBrowsers);
// @ts-expect-error: a spoke has no connections
expect(spoke.connections);
// @ts-expect-error: no such peer
createWebSocketClientEventTarget('ws://127.0.0.1:1', { peer: 'other' });
