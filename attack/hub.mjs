// The hub under attack, in a process of its own. Publishes a beat for the healthy clients, and says how it is.
// Argument: JSON of { limits, optional }; optional limits that this version does not know are told, not used.
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';

const { limits, optional } = JSON.parse(process.argv[2]);
/** How often the healthy clients hear from the hub. */
const BEAT_MS = 50;
const errors = {};
const heard = {};

function makeHub() {
  try {
    return {
      hub: createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true, limits: { ...limits, ...optional } }),
    };
  } catch (error) {
    if (error.code !== 'ERR_INVALID_OPTION') throw error;
    const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true, limits });
    return { hub, unknown: error.message };
  }
}

const { hub, unknown } = makeHub();
hub.addEventListener('error', ({ detail }) => {
  errors[detail.code] = (errors[detail.code] ?? 0) + (detail.dropped ?? 1);
});

/** Events that attacks send to the hub's own listeners, by topic, and the names of the last. Their payload may be too deep to be walked. */
function hear(topic) {
  hub.addEventListener(topic, ({ detail: { type, id } }) => {
    heard[topic] = { count: (heard[topic]?.count ?? 0) + 1, type, id };
  });
}

for (const topic of ['attack:heard', 'constructor:__proto__', 'toString:valueOf', 'attack:__proto__']) hear(topic);
hub.addEventListener('health:question', ({ detail }) =>
  hub.dispatchEvent(createEvent('health', 'answer', detail.payload)),
);
let beat = 0;
setInterval(() => hub.dispatchEvent(createEvent('health', 'beat', beat++)), BEAT_MS);

const handlers = {
  state: () => ({ stats: hub.stats(), errors, heard, isPolluted: Object.keys(Object.prototype).length > 0 }),
  collect: () => globalThis.gc(),
  /** As many events as a reader would have to take; paced, as a publisher does that cares. */
  async publish({ topic: [type, id], count, bytes }) {
    const payload = 'x'.repeat(bytes);
    for (let n = 0; n < count; n++) {
      hub.dispatchEvent(createEvent(type, id, payload));
      while (hub.bufferedAmount > 1 << 20) await new Promise((resolve) => setImmediate(resolve));
    }
  },
  subscribers: ({ topic }) => ({ subscribers: hub.subscribers(topic) }),
};

process.on('message', async ({ kind, ...fields }) => {
  const answer = await handlers[kind](fields);
  process.send({ kind, ...answer });
});
process.on('disconnect', () => process.exit(1));
await hub.ready();
process.send({ kind: 'listening', port: hub.address.port, url: hub.address.url, unknown });
