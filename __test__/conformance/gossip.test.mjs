// Gossip targets in the conformance suite: two members of a swarm on loopback.
import { createIrohGossipEventTarget } from '../../dist/event-target-iroh-gossip.js';
import { bindEndpoint } from '../iroh/endpoints.mjs';
import { conformance } from './index.mjs';

const withoutEcho = { transport: true, echo: false, acknowledges: true, small: true };
let pairs = 0;

const makePair = (options) => async () => {
  const [atA, atB] = [await bindEndpoint(), await bindEndpoint()];
  const topic = `pair ${++pairs}`;
  const a = await createIrohGossipEventTarget({ endpoint: atA, topic, bootstrap: [], ...options });
  const bootstrap = [{ nodeId: atA.nodeId(), addresses: atA.boundSockets() }];
  const b = await createIrohGossipEventTarget({ endpoint: atB, topic, bootstrap, ...options });
  // The first knows of the second a moment later.
  while (a.stats().neighbours === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const close = async () => {
    await Promise.all([a.close(), b.close()]);
    // Not awaited: an endpoint waits for what its members said last.
    for (const endpoint of [atA, atB]) void endpoint.close();
  };
  return { a, b, close };
};

conformance('two members of a swarm', makePair(), withoutEcho);
conformance('two members of a swarm with echo', makePair({ echo: true }), { ...withoutEcho, echo: true });
