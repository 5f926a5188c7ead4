// A network inside the process: a spoke is cut off, healed, and told of the gap. Run by smoke.test.mjs in Node.js, Deno and Bun, from a
// folder where the package is installed as a user has it. Ends by itself with exit code 0: no call to exit.
import { createPubSub } from '@alkdev/pubsub-native';
import { createNetwork } from '@alkdev/pubsub-native/testing';

const network = createNetwork({ seed: 1 });
network.lag(2, 3);
const hub = network.hub('hub');
const spoke = network.spoke('spoke', hub, { reconnect: { minDelayMs: 5, maxDelayMs: 20 } });
const next = (name) => new Promise((resolve) => spoke.addEventListener(name, resolve, { once: true }));
const heard = [];
spoke.addEventListener('chat:1', (event) => heard.push(event.detail.payload));
await spoke.ready('chat:1');
const { publish } = createPubSub({ eventTarget: hub });

const first = next('chat:1');
publish('chat', '1', 'before');
await first;
const lost = next('reconnecting');
network.cut(spoke, hub);
await lost;
publish('chat', '1', 'missed');
const gap = next('gap');
network.heal(spoke, hub);
const { topics } = (await gap).detail;
const last = next('chat:1');
publish('chat', '1', 'after');
await last;
await network.close();
console.log(JSON.stringify({ heard, topics, spoke: spoke.state, hub: hub.state }));
