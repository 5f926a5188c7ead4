// Hubs and spokes of a network inside the process in the conformance suite, in every arrangement.
import { createNetwork } from '../../dist/testing.js';
import { conformance } from './index.mjs';

const withoutEcho = { transport: true, echo: false, acknowledges: true };

/** A hub and two spokes. */
function makeNodes({ lagMs = 0, ...options } = {}) {
  const network = createNetwork();
  if (lagMs > 0) network.lag(lagMs, lagMs);
  const hub = network.hub('hub', { relay: true, ...options });
  const [a, b] = ['a', 'b'].map((name) => network.spoke(name, hub));
  return { hub, a, b, close: () => network.close() };
}

conformance(
  'two memory spokes at a relaying hub',
  async () => {
    const { a, b, close } = makeNodes();
    return { a, b, close };
  },
  withoutEcho,
);

conformance(
  'two memory spokes at a relaying hub, with lag and jitter',
  async () => {
    const { a, b, close } = makeNodes({ lagMs: 2 });
    return { a, b, close };
  },
  withoutEcho,
);

conformance(
  'a memory spoke towards its hub',
  async () => {
    const { hub, a, close } = makeNodes();
    return { a, b: hub, close };
  },
  withoutEcho,
);

conformance(
  'a memory hub towards its spoke',
  async () => {
    const { hub, b, close } = makeNodes();
    return { a: hub, b, close };
  },
  withoutEcho,
);

conformance(
  'the target of one memory connection and its spoke',
  async () => {
    let connected;
    const connection = new Promise((resolve) => (connected = resolve));
    const network = createNetwork();
    const hub = network.hub('hub', { onConnection: (own) => connected(own) });
    const spoke = network.spoke('spoke', hub);
    return { a: await connection, b: spoke, close: () => network.close() };
  },
  withoutEcho,
);
