import { createHub } from '@alkdev/pubsub-native/hub';
import { serve, upgradeWebSocket } from '@hono/node-server';
import { Hono } from 'hono';
import { WebSocketServer } from 'ws';

const hub = createHub({ relay: true });
const app = new Hono();
app.get(
  '/events',
  upgradeWebSocket((context) => ({
    onOpen: (_event, socket) => hub.addConnection(socket, { request: context.req.raw }),
  })),
);

const websocket = { server: new WebSocketServer({ noServer: true }) };
serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1', websocket }, ({ port }) => {
  console.log(`ws://127.0.0.1:${port}/events`);
});
