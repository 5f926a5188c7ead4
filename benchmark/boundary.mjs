// What crossing between Rust and JavaScript costs the JavaScript thread: events in, events out. `npm run bench:boundary`.
// Variants alternate in one run; figures are processor time of the JavaScript thread per event, medians over the rounds.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
import { measured, median, spread, table } from './measure.mjs';
import { loadClient, setUp } from './setup.mjs';

const ROUNDS = 7;
const EVENTS = 200_000;
const TYPE = 'bench.event';
const IDS = 64;

const api = await setUp();
const payload = payloadFor(200);
const envelopes = Array.from({ length: IDS }, (_, id) => JSON.stringify({ type: TYPE, id: `id${id}`, payload }));
console.log(
  `Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, ${ROUNDS} rounds of ${EVENTS} events of 200 bytes\n`,
);
await inbound();
await outbound();
process.exit(0);

/** A payload whose whole envelope has `size` bytes: an object with a number and a growing text. */
function payloadFor(size) {
  const empty = JSON.stringify({ type: TYPE, id: 'id10', payload: { n: 1234567, text: '' } }).length;
  return { n: 1234567, text: 'x'.repeat(size - empty) };
}

// ---- In: one listener, events from a thread of the addon -------------------------------------------------------------------------

async function inbound() {
  const variants = {
    'one batch, our table': viaInbox,
    'one call per event, our table': viaCallsOurs,
    'one call per event, EventTarget': viaCalls,
  };
  const results = Object.fromEntries(Object.keys(variants).map((name) => [name, []]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, variant] of Object.entries(variants)) {
      const result = await variant();
      if (round >= 0) results[name].push(result);
    }
  }
  const wall = (name) => median(results[name].map((result) => result.wallNs));
  const first = Object.keys(variants)[0];
  console.log('Events into one listener');
  console.log(
    table(
      Object.entries(results).map(([name, rounds]) => ({
        variant: name,
        'ns of the JavaScript thread per event': spread(rounds.map((round) => round.cpuNs / EVENTS)),
        'events/s': Math.round(1e9 / (wall(name) / EVENTS)),
        'rate of the first row ÷ this': (wall(name) / wall(first)).toFixed(2),
      })),
    ),
  );
  console.log();
}

function countTo(count) {
  let left = count;
  let done;
  const finished = new Promise((resolve) => (done = resolve));
  const listener = (event) => {
    if (event.detail.payload.n !== payload.n) throw new Error('a wrong event');
    if (--left === 0) done();
  };
  return { listener, finished };
}

function viaInbox() {
  const source = new api.binding.NativeBenchSource();
  const idle = () => 0;
  const port = {
    attach: (wake) => source.attach(wake),
    take: (meta) => source.take(meta),
    ...Object.fromEntries(
      [
        'listen',
        'unlisten',
        'begin',
        'intern',
        'publish',
        'publishOnce',
        'confirm',
        'flush',
        'drained',
        'bufferedAmount',
        'stats',
        'address',
        'close',
      ].map((name) => [name, idle]),
    ),
  };
  const target = new api.PortTarget(port);
  const { listener, finished } = countTo(EVENTS);
  for (let id = 0; id < IDS; id++) target.addEventListener(`${TYPE}:id${id}`, listener);
  return measured(async () => {
    source.flood(TYPE, IDS, JSON.stringify(payload), EVENTS);
    await finished;
  });
}

function perCall(target, dispatch) {
  const source = new api.binding.NativeBenchSource();
  const { listener, finished } = countTo(EVENTS);
  for (let id = 0; id < IDS; id++) target.addEventListener(`${TYPE}:id${id}`, listener);
  const alive = setInterval(() => {}, 1000);
  return measured(async () => {
    source.floodCalls((text) => dispatch(target, JSON.parse(text)), envelopes, EVENTS);
    await finished;
    clearInterval(alive);
  });
}

function viaCallsOurs() {
  return perCall(api.createMemoryEventTarget(), (target, { type, id, payload }) =>
    target.dispatchEvent(api.createEvent(type, id, payload)),
  );
}

function viaCalls() {
  return perCall(new EventTarget(), (target, detail) =>
    target.dispatchEvent(new CustomEvent(`${detail.type}:${detail.id}`, { detail })),
  );
}

// ---- Out: dispatchEvent on a hub with subscribers --------------------------------------------------------------------------------

async function outbound() {
  const rows = [];
  const results = new Map([0, 10, 100, 1000].map((count) => [count, []]));
  for (let round = -1; round < 5; round++) {
    for (const [subscribers, rounds] of results) {
      const result = await dispatched(subscribers);
      if (round >= 0) rounds.push(result);
    }
  }
  for (const [subscribers, rounds] of results) {
    rows.push({
      subscribers,
      'ns of the JavaScript thread per event': spread(rounds.map((round) => round.nsPerEvent)),
      'deliveries/s': Math.round(median(rounds.map((round) => round.rate))),
    });
  }
  console.log('dispatchEvent(createEvent(…)) on a hub, 16 per turn');
  console.log(table(rows));
}

async function dispatched(subscribers) {
  const events = subscribers > 100 ? 30_000 : 100_000;
  const hub = api.createWebSocketServerEventTarget({ listen: { port: 0 } });
  await hub.ready();
  const load = await startLoad(hub, subscribers);
  const begun = performance.now();
  // The turns of the event loop between the bursts are counted too.
  const { cpuNs } = await measured(async () => {
    for (let sent = 0; sent < events; ) {
      for (let i = 0; i < 16; i++, sent++) hub.dispatchEvent(api.createEvent('bench', 't0', payload));
      if (hub.bufferedAmount > 1_000_000) await hub.drain();
      await turn();
    }
  });
  await hub.flush();
  const rate = (events * subscribers) / ((performance.now() - begun) / 1000);
  await load.received(events * subscribers);
  load.stop();
  await hub.close({ timeoutMs: 500 });
  return { nsPerEvent: cpuNs / events, rate };
}

async function startLoad(hub, subscribers) {
  if (subscribers === 0) return { received: async () => {}, stop: () => {} };
  const child = spawn(loadClient, [`${hub.address.host}:${hub.address.port}`, String(subscribers), '1'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout });
  const ask = async () => {
    child.stdin.write('\n');
    const [line] = await once(lines, 'line');
    return JSON.parse(line);
  };
  while (hub.subscribers('bench:t0') < subscribers) await turn();
  return {
    async received(frames) {
      const deadline = Date.now() + 20_000;
      for (let counts = await ask(); counts.frames < frames; counts = await ask()) {
        if (Date.now() > deadline)
          throw new Error(`${counts.frames} of ${frames} frames came; ${counts.lost} connections lost`);
      }
    },
    stop: () => child.kill(),
  };
}
