// What must compile and what must not: the network and the proxy for tests. Checked by tsc, never run.

import { createWebSocketServerEventTarget } from '../../ts/event-target-websocket-server.js';
import type { EventsOf, NativeTarget } from '../../ts/index.js';
import {
  createFaultProxy,
  createNetwork,
  type FaultProxy,
  type FaultProxyStats,
  type HubEventTarget,
  type Network,
} from '../../ts/testing.js';

interface Events {
  'chat.msg': { n: number };
}

type Event = EventsOf<Events>;

declare function expect<T>(value: T): void;

const network = createNetwork({ seed: 1 });
expect<Network>(network);
expect<AsyncDisposable>(network);
expect<number>(network.seed);
const hub = network.hub<Event>('hub', { relay: true, limits: { heartbeatMs: 1000 }, onConnection: () => {} });
expect<HubEventTarget<Event>>(hub);
const spoke = network.spoke<Event>('a', hub, { reconnect: { maxDelayMs: 50 } });
expect<NativeTarget<Event>>(spoke);
spoke.addEventListener('chat.msg:r1', ({ detail }) => expect<number>(detail.payload.n));
network.spoke('b', 'hub');
network.cut(spoke, 'hub');
network.heal('a', hub);
network.lag(50);
network.lag(50, 10);
network.lag(spoke, hub, 50);
network.lag('a', 'hub', 50, 10);
network.stall(spoke);
expect<Promise<void>>(network.close());
// @ts-expect-error: a pair has two nodes
network.cut('a');
// @ts-expect-error: a lag has a time
network.lag(spoke, hub);
// @ts-expect-error: a hub listens nowhere
network.hub('other', { listen: { port: 0 } });
// @ts-expect-error: the hub of a spoke is missing
network.spoke('c');
// @ts-expect-error: no such option
createNetwork({ seeds: 1 });

const listening = createWebSocketServerEventTarget({ listen: { port: 0 } });
const proxy: FaultProxy = createFaultProxy({ to: { port: 1 }, seed: 7 });
if (listening.address !== null) createFaultProxy({ to: listening.address });
const acted: number = proxy.cut() + proxy.reset() + proxy.stall('up') + proxy.resume() + proxy.halfClose('down');
const stats: FaultProxyStats =
  proxy.delay(5, { jitterMs: 5, direction: 'both' }) > acted ? proxy.stats() : proxy.stats();
const disposable: AsyncDisposable = proxy.unref();

// @ts-expect-error: a destination is needed
createFaultProxy({});
// @ts-expect-error: nothing can be half-closed both ways
proxy.halfClose('both');
// @ts-expect-error: counters are read-only
stats.cut = 1;
void disposable;
