// A hub that sends events of two topics for as long as it lives. Arguments: the origin of pages that may connect, and its port.
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { createEvent } from '../../dist/index.js';

const [origin, port] = process.argv.slice(2);
const hub = createWebSocketServerEventTarget({ listen: { port: Number(port) }, allowedOrigins: [origin] });
await hub.ready();
process.send({ port: hub.address.port });

let n = 0;
setInterval(() => {
  for (const id of ['a', 'b']) hub.dispatchEvent(createEvent('tick', id, n));
  n++;
}, 5);
