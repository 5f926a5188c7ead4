// Bun's own WebSocket server, whose topics are native. Runs under Bun.
import { Listeners, serve } from './serve.mjs';

const listeners = new Listeners();
const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: (request, { upgrade: _ }) => (server.upgrade(request) ? undefined : new Response('', { status: 426 })),
  websocket: {
    message(socket, text) {
      const envelope = JSON.parse(text);
      if (envelope.type === '__subscribe') return void socket.subscribe(envelope.payload.topic);
      socket.publish(`${envelope.type}:${envelope.id}`, text);
      listeners.hear(envelope);
    },
  },
});
serve({
  address: `127.0.0.1:${server.port}`,
  publish: (type, id, payload) => server.publish(`${type}:${id}`, JSON.stringify({ type, id, payload })),
  listen: (...args) => listeners.listen(...args),
  once: (...args) => listeners.once(...args),
  subscribers: (topic) => server.subscriberCount(topic),
});
