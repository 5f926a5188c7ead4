// `ws` with the page of JavaScript that a hub over it needs: it knows topics, and sends the text on.
import { once } from 'node:events';
import { WebSocketServer } from 'ws';
import { Listeners, serve } from './serve.mjs';

const topics = new Map();
const listeners = new Listeners();
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
const nobody = new Set();
server.on('connection', (socket) => {
  const subscribed = [];
  socket.on('message', (data) => {
    const text = data.toString();
    const envelope = JSON.parse(text);
    if (envelope.type === '__subscribe') {
      const { topic } = envelope.payload;
      if (!topics.has(topic)) topics.set(topic, new Set());
      topics.get(topic).add(socket);
      subscribed.push(topic);
      return;
    }
    for (const other of topics.get(`${envelope.type}:${envelope.id}`) ?? nobody) if (other !== socket) other.send(text);
    listeners.hear(envelope);
  });
  socket.on('close', () => {
    for (const topic of subscribed) topics.get(topic).delete(socket);
  });
});
await once(server, 'listening');
serve({
  address: `127.0.0.1:${server.address().port}`,
  publish(type, id, payload) {
    const text = JSON.stringify({ type, id, payload });
    for (const socket of topics.get(`${type}:${id}`) ?? nobody) socket.send(text);
  },
  listen: (...args) => listeners.listen(...args),
  once: (...args) => listeners.once(...args),
  subscribers: (topic) => topics.get(topic)?.size ?? 0,
});
