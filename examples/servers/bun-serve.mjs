import { createHub } from '@alkdev/pubsub-native/hub';

const hub = createHub({ relay: true });

const server = Bun.serve({
  port: 0,
  hostname: '127.0.0.1',
  fetch(request, server) {
    if (server.upgrade(request, { data: { request } })) return;
    return new Response('hello');
  },
  websocket: {
    open(socket) {
      socket.data.feed = hub.addConnection(socket, { request: socket.data.request });
    },
    message: (socket, message) => socket.data.feed.message(message),
    close: (socket, code, reason) => socket.data.feed.close(code, reason),
  },
});
console.log(`ws://127.0.0.1:${server.port}/events`);
