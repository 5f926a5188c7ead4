// Members of swarms for tests, each at an endpoint of its own on loopback; closed when the test is over.
import { createIrohGossipEventTarget } from '@alkdev/pubsub-native/event-target-iroh-gossip';
import { within } from '../websocket/facts.mjs';
import { bindEndpoint, introduce } from './endpoints.mjs';

/** No patience. Heartbeats much shorter would have members called that are only busy. */
export const brisk = { reconnect: { minDelayMs: 20, maxDelayMs: 300 }, limits: { heartbeatMs: 1000 } };

export const peerOf = (endpoint) => ({ nodeId: endpoint.nodeId(), addresses: endpoint.boundSockets() });

/** A member and its endpoint; `others` are endpoints of members to begin with. */
export async function join(topic, others = [], options = {}, endpointOptions = {}) {
  const endpoint = await bindEndpoint(endpointOptions);
  const bootstrap = others.map(peerOf);
  const target = await createIrohGossipEventTarget({ endpoint, topic, bootstrap, ...brisk, ...options });
  return { endpoint, target };
}

/** So many members that have all heard of each other. */
export async function makeSwarm(t, count, options) {
  const topic = `swarm ${Math.random()}`;
  const members = [];
  const add = async (others) => {
    const member = await within(join(topic, others, options), 'the member has joined');
    members.push(member);
    // Not awaited: an endpoint waits for what its members said last.
    t.after(() => void member.target.close({ timeoutMs: 0 }).then(() => member.endpoint.close()));
  };
  await add([]);
  for (let n = 1; n < count; n++) await add([members[0].endpoint]);
  // As an address lookup would.
  for (const { endpoint } of members)
    for (const other of members) if (other.endpoint !== endpoint) introduce(endpoint, other.endpoint);
  for (const { target } of members) await until(() => target.stats().authors >= count - 1, 'all have heard of all');
  return members;
}

export async function until(isSo, what) {
  const poll = async () => {
    while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await within(poll(), what);
}

/** Listens and collects payloads. */
export function collect(target, topic) {
  const payloads = [];
  target.addEventListener(topic, ({ detail }) => payloads.push(detail.payload));
  return payloads;
}

/** Collects the life cycle. */
export function collectLife(target) {
  const life = [];
  for (const name of ['open', 'reconnecting', 'gap', 'error', 'close'])
    target.addEventListener(name, ({ detail }) => life.push([name, detail]));
  return life;
}
