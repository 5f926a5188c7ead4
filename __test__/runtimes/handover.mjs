// A hub at a server of node:http, in the runtime that runs this: says its URL, and of each upgrade whether the socket was taken over.
import { createServer } from 'node:http';
import { createHub } from '@alkdev/pubsub-native/hub';

const hub = createHub({ relay: true });
const server = createServer();
hub.attach(server, { path: '/events' });
server.on('upgrade', (_request, socket) => setTimeout(() => console.log(socket.destroyed ? 'adopted' : 'pumped'), 0));
hub.addEventListener('disconnection', () => console.log('gone'));
server.listen(0, '127.0.0.1', () => console.log(`ws://127.0.0.1:${server.address().port}/events`));
