import { createHub } from '@alkdev/pubsub-native/hub';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';

const hub = createHub({ relay: true });
const app = new Hono();
app.get('/', (context) => context.text('hello'));

const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => {
  console.log(`ws://127.0.0.1:${port}/events`);
});
hub.attach(server, { path: '/events' });
