// Hubs and spokes for one test: ready when they are given, closed when the test is over.
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { within } from './facts.mjs';

/** Reconnects at once: tests have no patience. */
const eager = { minDelayMs: 10, maxDelayMs: 50 };

/** A hub on loopback that listens. */
export async function makeHub(t, options = {}) {
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, ...options });
  t.after(() => hub.close({ timeoutMs: 0 }));
  await within(hub.ready(), 'the hub listens');
  return hub;
}

/** A spoke of a hub, or of a URL; not awaited. */
export function makeSpoke(t, to, options = {}) {
  const url = typeof to === 'string' ? to : to.address.url;
  const spoke = createWebSocketClientEventTarget(url, { reconnect: eager, ...options });
  t.after(() => spoke.close({ timeoutMs: 0 }));
  return spoke;
}

/** A spoke that is open. */
export async function makeOpenSpoke(t, to, options) {
  const spoke = makeSpoke(t, to, options);
  await within(spoke.ready(), 'the spoke is open');
  return spoke;
}
