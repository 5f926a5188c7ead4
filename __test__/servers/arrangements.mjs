// A hub behind the servers of others, in every arrangement: it listens nowhere itself.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createHub } from '@alkdev/pubsub-native/hub';
import { WebSocketServer } from 'ws';
import { pem } from './certificate.mjs';

/** Listens on a free port of loopback, or where it is told. */
export async function listening(server, ...where) {
  server.listen(...(where.length > 0 ? where : [0, '127.0.0.1']));
  await once(server, 'listening');
  return server;
}

async function attached(server, options, attachment, scheme) {
  const hub = createHub(options);
  await listening(server);
  hub.attach(server, { path: '/events', ...attachment });
  const close = async () => {
    await hub.close();
    server.close();
  };
  return { hub, server, url: `${scheme}://127.0.0.1:${server.address().port}/events`, spoke: {}, close };
}

/** By name: makes a hub and what reaches it. `spoke` are options that spokes need. */
export const arrangements = {
  'attach on node:http, sockets adopted': (options) => attached(createServer(), options, {}, 'ws'),
  'attach on node:http, bytes pumped': (options) => attached(createServer(), options, { adopt: false }, 'ws'),
  'attach on node:https': async (options) => {
    const net = await attached(createTlsServer(pem), options, {}, 'wss');
    return { ...net, spoke: { tls: { ca: pem.cert } } };
  },
  'addConnection on sockets of `ws`': async (options) => {
    const hub = createHub(options);
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
    await once(server, 'listening');
    server.on('connection', (socket, request) => hub.addConnection(socket, { request }));
    const close = async () => {
      await hub.close();
      for (const socket of server.clients) socket.terminate();
      server.close();
    };
    // The library answers pings before the hub can answer the hello: spokes are told that the hub is native.
    return { hub, server, url: `ws://127.0.0.1:${server.address().port}`, spoke: { peer: 'native' }, close };
  },
};
