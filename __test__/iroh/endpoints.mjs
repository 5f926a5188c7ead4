// Endpoints, hubs and spokes over Iroh for tests: on loopback, without any server; closed when the test is over.
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { Endpoint } from '@alkdev/pubsub-native/iroh';
import { within } from '../websocket/facts.mjs';

/** Reconnects at once: tests have no patience. */
export const eager = { minDelayMs: 10, maxDelayMs: 50 };

/** An endpoint that nobody but this machine reaches. */
export function bindEndpoint(options = {}) {
  return Endpoint.createWithOptions({ bind: '127.0.0.1:0', ...options });
}

/** The one knows where the other is. */
export function introduce(endpoint, other) {
  endpoint.addAddress(other.nodeId(), other.boundSockets());
}

export async function makeEndpoint(t, options) {
  const endpoint = (await within(bindEndpoint(options), 'the endpoint is bound')).ref();
  // Not awaited: connections that have just been made take most of a second to drain.
  t.after(() => void endpoint.close());
  return endpoint;
}

/** A hub at an endpoint of its own. */
export async function makeHub(t, { endpoint, ...options } = {}) {
  const own = endpoint ?? (await makeEndpoint(t));
  const hub = await within(createIrohHubEventTarget({ endpoint: own, ...options }), 'the hub is bound');
  t.after(() => hub.close({ timeoutMs: 0 }));
  return { hub, endpoint: own };
}

/** The promise of a spoke of the hub at `hubEndpoint`, through an endpoint of its own. */
export async function dial(t, hubEndpoint, { endpoint, ...options } = {}) {
  const own = endpoint ?? (await makeEndpoint(t));
  introduce(own, hubEndpoint);
  const spoke = await createIrohSpokeEventTarget({
    endpoint: own,
    hubNodeId: hubEndpoint.nodeId(),
    reconnect: eager,
    ...options,
  });
  t.after(() => spoke.close({ timeoutMs: 0 }));
  return spoke;
}

/** A spoke that is open. */
export function makeSpoke(t, hubEndpoint, options) {
  return within(dial(t, hubEndpoint, options), 'the spoke is open');
}
