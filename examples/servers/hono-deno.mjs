import { createHub } from '@alkdev/pubsub-native/hub';
import { Hono } from 'hono';
import { upgradeWebSocket } from 'hono/deno';

const hub = createHub({ relay: true });
const app = new Hono();
app.get(
  '/events',
  upgradeWebSocket((context) => ({
    onOpen: (event, socket) => hub.addConnection(socket, { request: context.req.raw }),
  })),
);

const onListen = ({ port }) => console.log(`ws://127.0.0.1:${port}/events`);
Deno.serve({ port: 0, hostname: '127.0.0.1', onListen }, app.fetch);
