// A spoke where the addon cannot be loaded. Run by without-addon.test.mjs; arguments: the URL of a hub, and a module with a WebSocket class
// or nothing. Prints what it heard and ends by itself.
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';

const [url, module] = process.argv.slice(2);
const options = module === undefined ? {} : { WebSocket: (await import(module)).WebSocket };
const warnings = [];
process.on('warning', ({ code }) => warnings.push(code));

try {
  const spokes = [createWebSocketClientEventTarget(url, options), createWebSocketClientEventTarget(url, options)];
  const [a, b] = spokes;
  const heard = new Promise((resolve) => b.addEventListener('greeting:', ({ detail }) => resolve(detail.payload)));
  const ready = await b.ready('greeting:');
  a.dispatchEvent(createEvent('greeting', '', 'grüß dich'));
  const payload = await heard;
  await Promise.all(spokes.map((spoke) => spoke.close()));
  console.log(JSON.stringify({ ready, payload, states: spokes.map(({ state }) => state), warnings }));
} catch ({ code }) {
  console.log(JSON.stringify({ thrown: code }));
}
