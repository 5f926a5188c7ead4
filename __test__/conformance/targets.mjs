// The targets that pass the conformance suite: columns of the matrix in docs/conformance.md, and the suites that each stands for.
// A cell says yes when the sentence holds in every suite of its column that has it.

const transport = { transport: true, echo: false, acknowledges: true };

export const columns = [
  {
    title: 'in-process',
    what: 'the memory target; both ends are one object',
    suites: ['the memory target'],
    capabilities: { transport: false, echo: true, acknowledges: true },
  },
  {
    title: 'WebSocket, native and native',
    what: 'two spokes at a relaying hub, with and without echo; hub and spoke, both ways; the target of one connection',
    suites: [
      'two WebSocket spokes at a relaying hub',
      'two WebSocket spokes with echo',
      'a WebSocket spoke towards its hub',
      'a WebSocket hub towards its spoke',
      'the target of one connection and its spoke',
    ],
    capabilities: { ...transport, echo: 'both' },
  },
  {
    title: 'Iroh, direct',
    what: 'two spokes at a relaying hub, with and without echo; hub and spoke, both ways, dialled by either; the target of one connection',
    suites: [
      'two Iroh spokes at a relaying hub',
      'two Iroh spokes with echo',
      'an Iroh spoke towards its hub',
      'an Iroh hub towards its spoke',
      'the target of one Iroh connection and its spoke',
      'an Iroh spoke towards the hub that called it',
      'an Iroh hub towards a spoke that it called',
    ],
    capabilities: { ...transport, echo: 'both' },
  },
  {
    title: 'Iroh, relay alone',
    what: 'through an iroh relay, no end has sockets: two spokes at a relaying hub; a hub towards its spoke',
    suites: [
      'two Iroh spokes at a relaying hub, through an iroh relay alone',
      'an Iroh hub towards its spoke, through an iroh relay alone',
    ],
    capabilities: transport,
  },
  {
    title: 'Iroh gossip',
    what: 'two members of a swarm, with and without echo; payloads of 64 KiB at most',
    suites: ['two members of a swarm', 'two members of a swarm with echo'],
    capabilities: { ...transport, echo: 'both', small: true },
  },
  {
    title: 'one hub, Iroh and WebSocket',
    what: 'an Iroh spoke and a WebSocket spoke of the same relaying hub, both ways',
    suites: [
      'an Iroh spoke towards a WebSocket spoke of the same hub',
      'a WebSocket spoke towards an Iroh spoke of the same hub',
    ],
    capabilities: transport,
  },
  {
    title: 'native hub, browser spoke',
    what: 'two spokes of a page in Chromium at a relaying hub',
    suites: ['two spokes in Chromium at a relaying native hub'],
    capabilities: transport,
  },
  {
    title: 'native hub, plain spoke in Node.js',
    what: 'the spoke in plain TypeScript, over `ws`: two at a relaying hub, hub and spoke both ways; over WebSocket objects of the caller',
    suites: [
      'two plain spokes over `ws` at a relaying native hub',
      'a plain spoke towards its native hub',
      'a native hub towards its plain spoke',
      'spokes over WebSocket objects of `ws` at a relaying hub',
    ],
    capabilities: transport,
  },
  ...[
    ['`addConnection`, `ws`', 'addConnection on sockets of `ws`'],
    ['`attach`, node:http, descriptor', 'attach on node:http, sockets adopted'],
    ['`attach`, node:http, pumped', 'attach on node:http, bytes pumped'],
    ['`attach`, node:https', 'attach on node:https'],
  ].map(([title, name]) => ({
    title,
    what: `${name}: two native spokes at a relaying hub, and a hub towards its spoke`,
    suites: [`two spokes at a relaying hub: ${name}`, `a hub towards its spoke: ${name}`],
    capabilities: transport,
  })),
  ...[
    ['Bun', 'Bun.serve'],
    ['Deno', 'Deno.serve'],
  ].map(([runtime, server]) => ({
    title: `\`addConnection\`, ${server}`,
    what: `the suite runs in ${runtime}: two native spokes at a relaying hub over sockets of \`${server}\``,
    suites: [`two spokes at a relaying hub: ${server} in ${runtime}`],
    capabilities: transport,
  })),
  {
    title: 'worker pair, Node.js',
    what: 'a worker thread and its host; both ends of a `MessageChannel`',
    suites: ['worker targets, the host publishes', 'worker targets over a channel'],
    capabilities: transport,
  },
  {
    title: 'worker pair, Chromium',
    what: 'a module worker of a page, and its host in the page',
    suites: ['worker targets in Chromium, the host publishes'],
    capabilities: transport,
  },
  {
    title: 'process bus',
    what: 'two members in one thread; one here and one in a worker',
    suites: ['the process bus, two members in one thread', 'the process bus, a member here and one in a worker'],
    capabilities: transport,
  },
  {
    title: 'Redis',
    what: 'two targets at one server, with and without echo',
    suites: ['two targets at one Redis', 'two targets at one Redis without echo'],
    capabilities: { ...transport, echo: 'both' },
  },
  {
    title: 'Redis Sentinel, Redis Cluster',
    what: 'two targets at a master that three Sentinels watch; two in a cluster of three nodes, with classic channels, and with sharded ones that share a slot',
    suites: [
      'two targets at a master that Sentinels watch',
      'two targets in a Redis Cluster',
      'two targets in a Redis Cluster, sharded, in one slot',
    ],
    capabilities: { ...transport, echo: true },
  },
  {
    title: 'two hubs, one Redis',
    what: 'two spokes, each at a relaying hub of its own, both ways; the two hubs, which a Redis joins',
    suites: ['spokes of two hubs that Redis joins', 'two hubs that Redis joins'],
    capabilities: transport,
  },
  {
    title: 'memory network',
    what: 'two spokes at a relaying hub, with and without lag; hub and spoke, both ways; the target of one connection',
    suites: [
      'two memory spokes at a relaying hub',
      'two memory spokes at a relaying hub, with lag and jitter',
      'a memory spoke towards its hub',
      'a memory hub towards its spoke',
      'the target of one memory connection and its spoke',
    ],
    capabilities: transport,
  },
];

/** Suites that a runtime may lack: they pass or are skipped, and stand in no column. */
export const besides = ['two plain spokes over the global WebSocket'];

/** Why a target has no case of a sentence, by the note's letter. */
export const notes = {
  a: 'nothing travels: listeners get the object itself, so nothing is encoded and names are not checked',
  b: 'both ends are one target, which hears itself, as an `EventTarget` does',
  c: 'a publisher does not hear itself here, unless `echo: true` asks for it',
};

/** The note for a column that lacks a sentence; undefined: it must not. */
export function noteOf({ capabilities }, sentence, casesOf) {
  const has = (extra) => casesOf({ ...transport, ...extra }).some(([other]) => other === sentence);
  if (!capabilities.transport && !has({ transport: false }) && has({ echo: true })) return 'a';
  if (capabilities.echo === true && !has({ echo: true })) return 'b';
  if (capabilities.echo === false && !has({ echo: false })) return 'c';
  return undefined;
}
