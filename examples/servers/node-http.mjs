import { createServer } from 'node:http';
import { createHub } from '@alkdev/pubsub-native/hub';

const hub = createHub({ relay: true });
const server = createServer((_request, response) => response.end('hello'));
hub.attach(server, { path: '/events' });

server.listen(0, '127.0.0.1', () => {
  console.log(`ws://127.0.0.1:${server.address().port}/events`);
});
