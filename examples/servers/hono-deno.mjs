import { createHub } from '@alkdev/pubsub-native/hub';
import { Hono } from 'hono';
import { upgradeWebSocket } from 'hono/deno';

const hub = createHub({ relay: true });
const app = new Hono();
app.get(
  '/events',
  upgradeWebSocket((context) => {
    // Deno closes the request with the upgrade: what is to be known of it is read before.
    const request = { url: context.req.url, headers: context.req.header() };
    return { onOpen: (_event, socket) => hub.addConnection(socket, { request }) };
  }),
);

const onListen = ({ port }) => console.log(`ws://127.0.0.1:${port}/events`);
Deno.serve({ port: 0, hostname: '127.0.0.1', onListen }, app.fetch);
