// The hub of a run: relays, and publishes events of its own as publisher 0. Killed and started again by the parent; each life is an epoch.
// Argument: JSON of { port, epoch, rate, bytes, heartbeatMs }.
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { idOf } from './checker.mjs';
import { follow, pace, tell, watch } from './child.mjs';

const { port, epoch, rate, bytes, heartbeatMs } = JSON.parse(process.argv[2]);
/** What a flood adds to an event: fills the buffers of a reader that stands still. */
const FLOOD_BYTES = 4096;
/** Dispatched and not yet fanned out; above it the publisher waits. */
const MAX_PENDING_BYTES = 1 << 20;

const hub = createWebSocketServerEventTarget({ listen: { port }, relay: true, limits: { heartbeatMs } });
watch(hub, 'hub', ({ code }) => code === 'ERR_PROTOCOL');
const filler = 'x'.repeat(bytes);
const flooder = 'x'.repeat(FLOOD_BYTES);
let sequence = 0;
let quota = 0;
let stop = () => {};

function publish(text) {
  hub.dispatchEvent(createEvent('chaos', idOf(0, sequence), [0, epoch, sequence, text]));
  sequence++;
}

function publishOne() {
  if (sequence >= quota) return false;
  if (hub.bufferedAmount < MAX_PENDING_BYTES) publish(filler);
  return true;
}

const told = () => ({ epoch, published: sequence, stats: hub.stats() });

follow({
  go(message) {
    quota = message.quota;
    stop = pace(rate, publishOne);
    setInterval(() => tell('progress', told()), 20);
  },
  flood({ count }) {
    for (let n = 0; n < count && sequence < quota; n++) publish(flooder);
  },
  mark({ id }) {
    tell('mark', { id, mark: [epoch, sequence] });
  },
  async restart() {
    stop();
    tell('stopping', told());
    await hub.close({ code: 1012, timeoutMs: 2000 });
    tell('stopped', told());
    process.removeAllListeners('disconnect');
    process.exit(0);
  },
  finish() {
    stop();
    publish(filler);
    tell('finished', told());
  },
  tell() {
    tell('told', told());
  },
});

await hub.ready();
tell('listening', { port: hub.address.port });
