import { createHub } from '@alkdev/pubsub-native/hub';

const hub = createHub({ relay: true });

const onListen = ({ port }) => console.log(`ws://127.0.0.1:${port}/events`);
Deno.serve({ port: 0, hostname: '127.0.0.1', onListen }, (request) => {
  if (request.headers.get('upgrade') !== 'websocket') return new Response('hello');
  // Deno closes the request with the upgrade: what is to be known of it is read before.
  const known = { url: request.url, headers: Object.fromEntries(request.headers) };
  const { socket, response } = Deno.upgradeWebSocket(request);
  hub.addConnection(socket, { request: known });
  return response;
});
