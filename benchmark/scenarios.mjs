// What `npm run bench` measures: each scenario with its load, and the peers that take part. Nothing is run here.
// `window`: how many events may be under way to the slowest reader; a hub is as fast as it is when so many wait, and no faster.

/**
 * How the processes of a peer are started. `hub`: its hub; `client`: its own JavaScript clients, where they have another name. `before` is another
 * build of this package, and takes part when `--before` names its folder.
 */
export const peers = {
  ours: { title: 'this package', runtime: 'node', hub: 'ours' },
  before: { title: 'this package, before', runtime: 'node', hub: 'ours', client: 'ours' },
  ws: { title: '`ws`', runtime: 'node', hub: 'ws' },
  socketio: { title: 'Socket.IO', runtime: 'node', hub: 'socketio', protocol: 'socketio' },
  bun: { title: 'Bun `server.publish`', runtime: 'bun', hub: 'bun' },
  'bare-each': { title: 'bare Rust, a write per delivery', bare: 'each' },
  'bare-shared': { title: 'bare Rust, shared writes', bare: 'shared' },
  yoga: { title: '`@graphql-yoga/subscription`' },
  'ours-event-target': { title: 'this package over an `EventTarget`' },
  'ours-memory': { title: 'this package over a memory target' },
};

const hubs = ['ours', 'ws', 'socketio', 'bun'];
const hubsAndYardsticks = [...hubs, 'bare-each', 'bare-shared'];

const fanOut = (title, load, who = hubsAndYardsticks) => ({
  kind: 'fanOut',
  title,
  peers: who,
  load: { burst: 1, perSecond: 0, topics: 1, ...load },
});

const trip = (title, load, who = hubs) => ({ kind: 'trip', title, peers: who, load });

export const scenarios = {
  'fan-out-100': fanOut('One event a turn to 100', { connections: 100, window: 512 }),
  'fan-out-1000': fanOut('One event a turn to 1000', { connections: 1000, window: 32 }),
  'burst-100': fanOut('16 events a turn to 100', { connections: 100, window: 512, burst: 16 }),
  'burst-1000': fanOut('16 events a turn to 1000', { connections: 1000, window: 32, burst: 16 }),
  'paced-1000': fanOut('40 events a second to 1000', { connections: 1000, window: 32, perSecond: 40 }),
  'topics-100': fanOut(
    'One event a turn, 1000 connections over 100 topics',
    { connections: 1000, window: 32, topics: 100 },
    hubs,
  ),
  relay: {
    kind: 'relay',
    title: 'A client publishes, 100 others get it',
    peers: hubs,
    load: { connections: 100, window: 512 },
  },
  'answer-1': trip('The hub’s listener answers a bare client, one under way', { mode: 'answer', depth: 1 }),
  'answer-64': trip('The hub’s listener answers a bare client, 64 under way', { mode: 'answer', depth: 64 }),
  'relay-1': trip('From one bare client to another, one under way', { mode: 'relay', depth: 1 }),
  'relay-64': trip('From one bare client to another, 64 under way', { mode: 'relay', depth: 64 }),
  'clients-1': trip('From one of the peer’s own clients to another, one under way', { mode: 'clients', depth: 1 }),
  'clients-64': trip('From one of the peer’s own clients to another, 64 under way', { mode: 'clients', depth: 64 }),
  'answer-beside-flood': {
    kind: 'flooded',
    title: 'The hub’s listener answers a bare client beside a flood to 1000',
    peers: hubs,
    load: { connections: 1000, window: 32, depth: 1, burst: 1, perSecond: 0, topics: 1 },
  },
  idle: { kind: 'idle', title: '5000 idle connections', peers: hubs, load: { connections: 5000 } },
  'inbound-few': {
    kind: 'inbound',
    title: 'Events of 8 topics into listeners',
    peers: hubs,
    load: { ids: 8, window: 4096 },
  },
  'inbound-new': {
    kind: 'inbound',
    title: 'Events of ever new topics, each with a listener of its own',
    peers: hubs,
    load: { ids: 0, window: 4096 },
  },
  'in-process-1': inProcess(1),
  'in-process-16': inProcess(16),
  'in-process-256': inProcess(256),
  'growth-100': growth(100),
  'growth-1000': growth(1000),
  'growth-5000': growth(5000),
};

function inProcess(burst) {
  return {
    kind: 'inProcess',
    title: `Publishing to one async iterator, ${burst} ${burst === 1 ? 'event' : 'events'} at a time`,
    peers: ['ours', 'ours-event-target', 'ours-memory', 'yoga'],
    load: { burst },
  };
}

/** One burst under way: writes are shared alike, whatever the number of connections. */
function growth(connections) {
  return fanOut(`Growth: bursts of 16 to ${connections}, one under way`, { connections, window: 16, burst: 16 }, [
    ...hubs,
    'bare-shared',
  ]);
}
