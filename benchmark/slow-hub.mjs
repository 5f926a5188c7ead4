// The hub of benchmark/slow-reader.mjs: relays, dispatches what it is told to, and says how it is.
import { setImmediate as turn } from 'node:timers/promises';
import { importAll } from './setup.mjs';

const { createWebSocketServerEventTarget, createEvent } = await importAll();
/** A publisher that cares looks at bufferedAmount. */
const MAX_PENDING_BYTES = 1 << 20;

const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
hub.addEventListener('error', ({ detail }) => console.error(`hub: ${detail.code}: ${detail.message}`));

/** A payload whose whole envelope has `bytes` bytes. */
function payloadFor(bytes) {
  return 'x'.repeat(bytes - JSON.stringify({ type: 'bench', id: 't0', payload: '' }).length);
}

const handlers = {
  async publish({ count, bytes }) {
    const payload = payloadFor(bytes);
    for (let sent = 0; sent < count; ) {
      for (let n = 0; n < 64 && sent < count && hub.bufferedAmount < MAX_PENDING_BYTES; n++, sent++)
        hub.dispatchEvent(createEvent('bench', 't0', payload));
      await turn();
    }
  },
  /** Numbered events, all in one turn. */
  loop({ count, bytes }) {
    const filler = payloadFor(bytes - 10);
    const began = performance.now();
    for (let n = 0; n < count; n++) hub.dispatchEvent(createEvent('bench', 't0', [n, filler]));
    process.send({ kind: 'loop', loopMs: performance.now() - began });
  },
  collect() {
    globalThis.gc();
    process.send({ kind: 'collect' });
  },
  stats() {
    process.send({ kind: 'stats', stats: hub.stats(), subscribers: hub.subscribers('bench:t0') });
  },
};

process.on('message', (message) => handlers[message.kind](message));
process.on('disconnect', () => process.exit(1));
await hub.ready();
process.send({ kind: 'listening', url: hub.address.url, address: `${hub.address.host}:${hub.address.port}` });
