import { createHub } from '@alkdev/pubsub-native/hub';

const hub = createHub({ relay: true });

const onListen = ({ port }) => console.log(`ws://127.0.0.1:${port}/events`);
Deno.serve({ port: 0, hostname: '127.0.0.1', onListen }, (request) => {
  if (request.headers.get('upgrade') !== 'websocket') return new Response('hello');
  const { socket, response } = Deno.upgradeWebSocket(request);
  hub.addConnection(socket, { request });
  return response;
});
