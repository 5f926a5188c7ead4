// Socket.IO with rooms as topics, over WebSocket alone. Its own pings would only add to its costs, and are off.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { Listeners, serve } from './serve.mjs';

const NEVER_MS = 3_600_000;
const http = createServer();
const listeners = new Listeners();
const io = new Server(http, { transports: ['websocket'], serveClient: false, pingInterval: NEVER_MS });
io.on('connection', (socket) => {
  socket.on('subscribe', (topic) => socket.join(topic));
  socket.on('event', (envelope) => {
    socket.to(`${envelope.type}:${envelope.id}`).emit('event', envelope);
    listeners.hear(envelope);
  });
});
http.listen(0, '127.0.0.1');
await once(http, 'listening');
serve({
  address: `127.0.0.1:${http.address().port}`,
  publish: (type, id, payload) => io.to(`${type}:${id}`).emit('event', { type, id, payload }),
  listen: (...args) => listeners.listen(...args),
  once: (...args) => listeners.once(...args),
  subscribers: (topic) => io.sockets.adapter.rooms.get(topic)?.size ?? 0,
});
