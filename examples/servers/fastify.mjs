import { createHub } from '@alkdev/pubsub-native/hub';
import Fastify from 'fastify';

const hub = createHub({ relay: true });
const app = Fastify();
app.get('/', async () => 'hello');
hub.attach(app.server, { path: '/events' });

await app.listen({ port: 0, host: '127.0.0.1' });
console.log(`ws://127.0.0.1:${app.server.address().port}/events`);
