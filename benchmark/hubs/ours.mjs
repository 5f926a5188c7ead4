// This package as a hub. Argument: the folder of the package.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { serve } from './serve.mjs';

const at = (path) => import(pathToFileURL(`${process.argv[2]}/dist/${path}`).href);
const [{ createEvent }, { createWebSocketServerEventTarget }] = await Promise.all([
  at('index.js'),
  at('event-target-websocket-server.js'),
]);
const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
hub.addEventListener('error', ({ detail }) => console.error(`${detail.code}: ${detail.message}`));
await hub.ready();
// Only builds for benchmarks have the clock.
const { benchThreadCpuNs } = createRequire(import.meta.url)(`${process.argv[2]}/loader.cjs`);
const hearing = (callback) => (event) => callback(event.detail.payload);
serve({
  address: `${hub.address.host}:${hub.address.port}`,
  publish: (type, id, payload) => hub.dispatchEvent(createEvent(type, id, payload)),
  listen: (type, id, callback) => hub.addEventListener(`${type}:${id}`, hearing(callback)),
  once: (type, id, callback) => hub.addEventListener(`${type}:${id}`, hearing(callback), { once: true }),
  subscribers: (topic) => hub.subscribers(topic),
  threadCpuNs: benchThreadCpuNs,
});
