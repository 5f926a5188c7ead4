// What readers that stop cost a hub and its other readers: `npm run bench:slow`. The hub, the load client and the spokes are processes of
// their own; rounds with and without stopped readers alternate in one run. Prints medians and spreads; the exit code tells.
// Usage: npm run bench:slow -- [--rounds 5] [--mib 250] [--connections 100] [--bytes 1024] [--only stopped|several|loop]
// Linux only: it reads /proc.

import { fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Failure, parse, say, whenStarted } from '../scripts/run.mjs';
import { median, memoryOf, spread, table } from './measure.mjs';
import { loadClient, setUp } from './setup.mjs';

const MIB = 1 << 20;
/** The hub's default: what all readers together wait for one that is slow, once. */
const STALL_MS = 250;
/** A hub's memory may grow by the bounds of its queues, not by what is offered. */
const MAX_GROWTH_MIB = 16;
/** What a pause may be longer than stallMs because of the clock and the scheduler, besides what pauses last without a stopped reader. */
const CLOCK_MS = 25;
/** The loop that does not look left or right: fits maxPendingBytes. */
const LOOP = { spokes: 10, bytes: 200, mb: 50 };
/** Nothing moved for so long: a round hangs. */
const PATIENCE_MS = 120_000;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

whenStarted(import.meta.url, async (args) => {
  const known = {
    '--rounds': 'value',
    '--mib': 'value',
    '--connections': 'value',
    '--bytes': 'value',
    '--only': 'value',
  };
  const { options, rest } = parse(args, known);
  if (rest.length > 0) throw new Failure(`unexpected "${rest[0]}"`, 2);
  const number = (name, value) => {
    const given = Number(options[name] ?? value);
    if (!Number.isInteger(given) || given < 1) throw new Failure(`${name} must be a positive integer, got ${given}`, 2);
    return given;
  };
  const plan = {
    rounds: number('--rounds', 5),
    connections: number('--connections', 100),
    bytes: number('--bytes', 1024),
    mib: number('--mib', 250),
  };
  plan.events = Math.ceil((plan.mib * MIB) / plan.bytes);
  const only = options['--only'];
  if (![undefined, 'stopped', 'several', 'loop'].includes(only)) throw new Failure(`--only ${only} is not known`, 2);
  await setUp();
  console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, ${plan.rounds} rounds`);
  const complaints = [];
  if (only === undefined || only === 'stopped') complaints.push(...(await oneStopped(plan)));
  if (only === undefined || only === 'several') complaints.push(...(await severalStopped(plan)));
  if (only === undefined || only === 'loop') complaints.push(...(await oneLoop(plan)));
  for (const text of complaints) console.log(`WRONG: ${text}`);
  if (complaints.length > 0) throw new Failure('a target was missed');
});

// ---- One reader of many stops ----------------------------------------------------------------------------------------------------------

async function oneStopped(plan) {
  const ways = ['dispatched', 'relayed'];
  const cells = ways.flatMap((way) => [0, 1].map((stopped) => ({ way, stopped, rounds: [] })));
  for (let round = 0; round < plan.rounds; round++) {
    for (const cell of cells) cell.rounds.push(await offer({ ...plan, way: cell.way, stopped: cell.stopped }));
  }
  console.log(`\n${plan.mib} MiB in events of ${plan.bytes} bytes offered to each of ${plan.connections} readers`);
  console.log(table(cells.map((cell) => row(`${cell.way}, ${cell.stopped === 0 ? 'all read' : 'one stopped'}`, cell))));
  return ways.flatMap((way) => {
    const [without, with_] = [0, 1].map((stopped) =>
      cells.find((cell) => cell.way === way && cell.stopped === stopped),
    );
    return [...judge(way, with_, without), ...judgeMemory(way, with_)];
  });
}

function row(name, { rounds }) {
  const of = (pick, digits = 0) => spread(rounds.map(pick), digits);
  return {
    round: name,
    'hub MiB more at most': of((result) => result.growthMib, 1),
    'time s': of((result) => result.elapsedMs / 1000, 2),
    'longest pause of another ms': of((result) => result.longestPauseMs),
    'pauses over 50 ms': of((result) => result.longPauses),
    'in all ms': of((result) => result.pausedMs),
    cut: of((result) => result.slowConsumers),
    'others lost': of((result) => result.othersLost),
  };
}

function judge(name, with_, without) {
  const lost = [with_, without].flatMap(({ rounds }) => rounds).filter(({ othersLost }) => othersLost > 0).length;
  if (lost > 0) return [`${name}: in ${lost} rounds readers were cut that had not stopped`];
  const uncut = with_.rounds.filter(({ slowConsumers }) => slowConsumers !== with_.stopped).length;
  if (uncut > 0) return [`${name}: in ${uncut} rounds not exactly those that had stopped were cut`];
  const pause = (cell) => median(cell.rounds.map(({ longestPauseMs }) => longestPauseMs));
  const bound = STALL_MS + pause(without) + CLOCK_MS;
  const ratio = median(with_.rounds.map(({ elapsedMs }, n) => elapsedMs / without.rounds[n].elapsedMs));
  console.log(`${name}: time with stopped readers ÷ without, median of pairs: ${ratio.toFixed(3)}`);
  return pause(with_) > bound ? [`${name}: others paused for ${pause(with_)} ms, at most ${bound} were expected`] : [];
}

function judgeMemory(name, { rounds }) {
  const growth = median(rounds.map(({ growthMib }) => growthMib));
  return growth > MAX_GROWTH_MIB ? [`${name}: the hub grew by ${growth} MiB, more than ${MAX_GROWTH_MIB}`] : [];
}

// ---- Several stop at different moments -------------------------------------------------------------------------------------------------

async function severalStopped(plan) {
  const cells = [0, 1, 4, 16].map((stopped) => ({ stopped, rounds: [] }));
  for (let round = 0; round < plan.rounds; round++) {
    for (const cell of cells)
      cell.rounds.push(await offer({ ...plan, way: 'relayed', stopped: cell.stopped, spreadOut: true }));
  }
  console.log(`\nThe same, relayed; readers stop one after the other, evenly over the first half`);
  console.log(table(cells.map((cell) => row(`${cell.stopped} stopped`, cell))));
  return cells
    .slice(1)
    .flatMap((cell) => [
      ...judge(`${cell.stopped} stopped`, cell, cells[0]),
      ...judgeMemory(`${cell.stopped} stopped`, cell),
    ]);
}

// ---- One round -------------------------------------------------------------------------------------------------------------------------

/** Offers everything to all readers; the first `stopped` of them stop, at the start or spread over the first half of the round. */
async function offer({ connections, bytes, events, way, stopped, spreadOut = false }) {
  const hub = await startHub();
  const load = startLoad(hub.address, connections);
  try {
    await hub.until(({ subscribers }) => subscribers === connections, 'all readers have subscribed');
    // The same as what is measured, so that what a hub needs anyway is there.
    await send(hub, load, way, Math.ceil(events / 10), bytes);
    await load.until(({ least }) => least >= Math.ceil(events / 10), 'the rehearsal has arrived');
    await hub.ask('collect');
    await load.ask('mark');
    const before = memoryOf(hub.pid);
    resetPeak(hub.pid);
    if (stopped > 0 && !spreadOut) for (let index = 0; index < stopped; index++) await load.ask(`stop ${index}`);
    await send(hub, load, way, events, bytes);
    if (spreadOut) await stopOneByOne(load, stopped, events);
    const isOver = ({ least, othersLost }) => least >= events || othersLost > 0;
    const counts = await load.until(isOver, 'everybody who reads has everything');
    const { stats } = await hub.ask('stats');
    const result = {
      growthMib: (memoryOf(hub.pid).peak - before.resident) / MIB,
      elapsedMs: counts.elapsedUs / 1000,
      longestPauseMs: counts.longestPauseUs / 1000,
      longPauses: counts.longPauses,
      pausedMs: counts.pausedUs / 1000,
      slowConsumers: stats.slowConsumers,
      othersLost: counts.othersLost,
    };
    say(`${way}, ${stopped} stopped: ${JSON.stringify(result)}`);
    return result;
  } finally {
    load.stop();
    await hub.stop();
  }
}

/** A publishing client ends when the hub does. */
async function send(hub, load, way, count, bytes) {
  if (way === 'dispatched') hub.say('publish', { count, bytes });
  else await load.ask(`publish ${count} ${bytes}`);
}

async function stopOneByOne(load, stopped, events) {
  for (let index = 0; index < stopped; index++) {
    await load.until(({ least }) => least >= (events * index) / (2 * stopped), 'the next moment to stop');
    await load.ask(`stop ${index}`);
  }
}

// ---- A loop that publishes 50 MB without a look ----------------------------------------------------------------------------------------

async function oneLoop({ rounds }) {
  const results = [];
  for (let round = 0; round < rounds; round++) results.push(await loop());
  const of = (pick, digits = 0) => spread(results.map(pick), digits);
  console.log(`\n${LOOP.mb} MB in one synchronous loop of dispatchEvent to ${LOOP.spokes} JavaScript spokes`);
  console.log(
    table([
      {
        'loop ms': of(({ loopMs }) => loopMs),
        'all have all after s': of(({ elapsedMs }) => elapsedMs / 1000, 2),
        'hub MiB more at most': of(({ growthMib }) => growthMib, 1),
        'spokes cut': of(({ slowConsumers }) => slowConsumers),
        'events dropped': of(({ dropped }) => dropped),
        'spokes with everything in order': of(({ complete }) => complete),
      },
    ]),
  );
  const isWhole = ({ complete, slowConsumers, dropped }) =>
    complete === LOOP.spokes && slowConsumers === 0 && dropped === 0;
  const bad = results.filter((result) => !isWhole(result)).length;
  return bad > 0 ? [`the loop: in ${bad} of ${rounds} rounds not every spoke got everything in order`] : [];
}

async function loop() {
  const events = (LOOP.mb * 1e6) / LOOP.bytes;
  const hub = await startHub();
  const spokes = new Child('slow-spokes', { url: hub.url, count: LOOP.spokes, events });
  try {
    await spokes.told('ready');
    const before = memoryOf(hub.pid);
    resetPeak(hub.pid);
    const began = performance.now();
    const heard = spokes.told('heard');
    const { loopMs } = await hub.ask('loop', { count: events, bytes: LOOP.bytes });
    const { complete } = await heard;
    const elapsedMs = performance.now() - began;
    const { stats } = await hub.ask('stats');
    const growthMib = (memoryOf(hub.pid).peak - before.resident) / MIB;
    return { loopMs, elapsedMs, growthMib, complete, slowConsumers: stats.slowConsumers, dropped: stats.dropped };
  } finally {
    await spokes.stop();
    await hub.stop();
  }
}

// ---- Processes -------------------------------------------------------------------------------------------------------------------------

class Child {
  #process;
  #name;

  constructor(name, config) {
    this.#name = name;
    this.#process = fork(fileURLToPath(new URL(`${name}.mjs`, import.meta.url)), [JSON.stringify(config)], {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.exited = once(this.#process, 'exit');
  }

  get pid() {
    return this.#process.pid;
  }

  say(kind, fields = {}) {
    this.#process.send({ kind, ...fields });
  }

  async told(kind) {
    let listener;
    const message = new Promise((resolve) => {
      listener = (message) => message.kind === kind && resolve(message);
      this.#process.on('message', listener);
    });
    const early = this.exited.then(() => Promise.reject(new Failure(`${this.#name} ended before it said "${kind}"`)));
    try {
      return await Promise.race([message, early, late(`${this.#name} says "${kind}"`)]);
    } finally {
      this.#process.off('message', listener);
      early.catch(() => {});
    }
  }

  ask(kind, fields) {
    const answer = this.told(kind);
    this.say(kind, fields);
    return answer;
  }

  async until(isSo, what) {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const answer = await this.ask('stats');
      if (isSo(answer)) return answer;
      if (performance.now() > deadline) throw new Failure(`not within ${PATIENCE_MS / 1000} s: ${what}`);
      await sleep(10);
    }
  }

  async stop() {
    this.#process.kill('SIGKILL');
    await this.exited;
  }
}

async function startHub() {
  const hub = new Child('slow-hub', {});
  const { url, address } = await hub.told('listening');
  return Object.assign(hub, { url, address });
}

function startLoad(address, connections) {
  const child = spawn(loadClient, [address, String(connections), '1'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const ask = async (command = '') => {
    child.stdin.write(`${command}\n`);
    const [line] = await Promise.race([once(lines, 'line'), late(`the load client answers "${command}"`)]);
    return JSON.parse(line);
  };
  const until = async (isSo, what) => {
    let [before, since] = [-1, performance.now()];
    for (;;) {
      const counts = await ask();
      if (isSo(counts)) return counts;
      if (counts.bytes !== before) [before, since] = [counts.bytes, performance.now()];
      else if (performance.now() - since > PATIENCE_MS) throw new Failure(`${what}: ${JSON.stringify(counts)}`);
      await sleep(10);
    }
  };
  return { ask, until, stop: () => child.kill('SIGKILL') };
}

/** Rejects after a while, and keeps nobody alive. */
function late(what) {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Failure(`not within ${PATIENCE_MS / 1000} s: ${what}`)), PATIENCE_MS).unref();
  });
}

/** The peak of resident memory begins anew (proc(5), clear_refs). */
function resetPeak(pid) {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}
