import { createHub } from '@alkdev/pubsub-native/hub';
import { Hono } from 'hono';
import { upgradeWebSocket, websocket } from 'hono/bun';

const hub = createHub({ relay: true });
const app = new Hono();
app.get(
  '/events',
  upgradeWebSocket((context) => {
    let feed;
    return {
      onOpen(_event, socket) {
        feed = hub.addConnection(socket, { request: context.req.raw });
      },
      onMessage: (event) => feed.message(event.data),
      onClose: (event) => feed.close(event.code, event.reason),
    };
  }),
);

const server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: app.fetch, websocket });
console.log(`ws://127.0.0.1:${server.port}/events`);
