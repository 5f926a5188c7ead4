import { createHub } from '@alkdev/pubsub-native/hub';
import { WebSocketServer } from 'ws';

const hub = createHub({ relay: true });
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
server.on('connection', (socket, request) => hub.addConnection(socket, { request }));

server.on('listening', () => {
  console.log(`ws://127.0.0.1:${server.address().port}`);
});
