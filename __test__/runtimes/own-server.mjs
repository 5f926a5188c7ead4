// Two spokes at a relaying hub over sockets of the server that the runtime itself has, Bun.serve or Deno.serve. Runs nothing.
import { createWebSocketClientEventTarget } from '../../dist/event-target-websocket-client.js';
import { createHub } from '../../dist/hub.js';

/** A server whose WebSockets the hub gets. */
function serve(hub) {
  return 'Bun' in globalThis ? serveInBun(hub) : serveInDeno(hub);
}

function serveInBun(hub) {
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch: (request, it) => (it.upgrade(request, { data: { request } }) ? undefined : new Response('no upgrade')),
    websocket: {
      open(socket) {
        socket.data.feed = hub.addConnection(socket, { request: socket.data.request });
      },
      message: (socket, message) => socket.data.feed.message(message),
      close: (socket, code, reason) => socket.data.feed.close(code, reason),
    },
  });
  return { port: server.port, stop: () => server.stop(true) };
}

function serveInDeno(hub) {
  const server = Deno.serve({ port: 0, hostname: '127.0.0.1', onListen: () => {} }, (request) => {
    const known = { url: request.url, headers: Object.fromEntries(request.headers) };
    const { socket, response } = Deno.upgradeWebSocket(request);
    hub.addConnection(socket, { request: known });
    return response;
  });
  return { port: server.addr.port, stop: () => server.shutdown() };
}

/** For the conformance suite. */
export async function makePair() {
  const hub = createHub({ relay: true });
  const { port, stop } = serve(hub);
  // The runtime answers pings before the hub can answer the hello: spokes are told that the hub is native.
  const connect = () => createWebSocketClientEventTarget(`ws://127.0.0.1:${port}/`, { peer: 'native' });
  const [a, b] = [connect(), connect()];
  const close = async () => {
    await Promise.all([a.close(), b.close()]);
    await hub.close();
    await stop();
  };
  return { a, b, close };
}
