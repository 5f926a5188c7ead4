// Attacks by raw sockets on a hub in a process of its own: `npm run attack`. After each, healthy clients must get their events within a
// second, and what the attack took must come back. Prints a table; the exit code tells.
// Usage: npm run attack -- [--short] [--only part-of-a-name] [--seed N] [--release | --no-build]
// Linux only: it reads /proc.
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { memoryOf, table } from '../benchmark/measure.mjs';
import { diceFrom } from '../dist/dice.js';
import { build } from '../scripts/build.mjs';
import { Failure, parse, seconds, whenStarted } from '../scripts/run.mjs';
import { Child } from './child.mjs';
import { crowds } from './crowds.mjs';
import { frames } from './frames.mjs';
import { handshakes } from './handshakes.mjs';
import { messages } from './messages.mjs';
import { destroyAll, until } from './raw.mjs';

const MIB = 1 << 20;
/** A healthy client has its answer by then. */
const HEALTHY_MS = 1000;
/** What an attack took is back by then. */
const RETURN_MS = 10_000;
/** Resident memory may stay so much above what it was before an attack: what allocators keep for the next time. */
const MAX_REST_MIB = 24;
/** And so much above the beginning after all of them, or above what was shown to be used again. */
const MAX_REST_AT_END_MIB = 64;
/** So often an attack may come until it finds all that it needs in what it has left. */
const MAX_TIMES = 5;
const MAX_DESCRIPTORS = 4;

const limits = {
  maxConnections: 4000,
  maxTopicsPerConnection: 10_000,
  handshakeMs: 2000,
  heartbeatMs: 2000,
};

const sizes = {
  long: { scale: 1, sockets: 200, topics: 1_000_000, churn: 1_000_000, halves: { count: 2000, bound: 256 * MIB } },
  short: { scale: 0.1, sockets: 40, topics: 20_000, churn: 20_000, halves: { count: 60, bound: 16 * MIB } },
};

whenStarted(import.meta.url, async (args) => {
  const known = { '--short': 'flag', '--only': 'value', '--seed': 'value', '--release': 'flag', '--no-build': 'flag' };
  const { options, rest } = parse(args, known);
  if (rest.length > 0) throw new Failure(`unexpected "${rest[0]}"`, 2);
  if (!existsSync('/proc/self/status')) throw new Failure('this needs /proc: Linux only');
  const seed = Number(options['--seed'] ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`seed ${seed}\n`);
  if (!options['--no-build']) build({ release: options['--release'] });
  const chosen = Object.entries({ ...handshakes, ...frames, ...messages, ...crowds }).filter(([name]) =>
    name.includes(options['--only'] ?? ''),
  );
  if (chosen.length === 0) throw new Failure(`no attack is called like "${options['--only']}"`, 2);
  const size = options['--short'] ? sizes.short : sizes.long;
  const { rows, complaints, skipped } = await attackAll(chosen, size, seed);
  process.stdout.write(`${table(rows)}\n`);
  for (const text of skipped) process.stdout.write(`SKIPPED: ${text}\n`);
  for (const text of complaints) process.stdout.write(`WRONG: ${text}\n`);
  if (complaints.length > 0) throw new Failure(`${complaints.length} attacks did harm`);
});

async function attackAll(chosen, size, seed) {
  const roll = diceFrom(seed);
  const hub = await startHub({ limits, optional: { maxInboundBytes: size.halves.bound } });
  const healthy = new Child('healthy', hub.url);
  const run = { hub, healthy, rows: [], complaints: [], skipped: [], usedAgainMib: 0 };
  try {
    await healthy.told('ready');
    run.facts = { ...size, limits, hub, port: hub.port, random: (bound) => Math.floor(roll() * bound) };
    const first = await stateOf(hub);
    for (const [name, attack] of chosen) {
      await strike(run, name, attack);
      process.stderr.write(`${name}: ${run.rows.at(-1).seen}\n`);
    }
    const { resident } = await stateOf(hub);
    const growth = resident - first.resident;
    run.rows.push({ ...blank(run.rows[0]), attack: 'all of them', 'MiB left': mib(growth) });
    if (resident > Math.max(first.resident, run.usedAgainMib * MIB) + MAX_REST_AT_END_MIB * MIB)
      run.complaints.push(`after all attacks the hub is ${mib(growth)} MiB larger`);
  } finally {
    await healthy.stop();
    await hub.stop();
  }
  return run;
}

/** One attack and what it has left. Memory that does not return must be used again: the attack comes until it needs no more. */
async function strike(run, name, attack) {
  const first = await strikeOnce(run, name, attack);
  run.rows.push(first.row);
  let { peak, restMib } = first;
  for (let times = 2; restMib > MAX_REST_MIB; times++) {
    const again = await strikeOnce(run, name, attack);
    run.rows.push({ ...again.row, attack: `${name}, ${times}` });
    run.usedAgainMib = Math.max(run.usedAgainMib, again.resident / MIB);
    if (again.peak <= peak + MAX_REST_MIB * MIB) return;
    if (times === MAX_TIMES)
      return void run.complaints.push(
        `${name}: ${mib(again.peak)} MiB after ${times} times, ${mib(peak)} before: it is lost`,
      );
    ({ peak, restMib } = again);
  }
}

async function strikeOnce(run, name, attack) {
  const { hub, healthy, complaints } = run;
  const before = await stateOf(hub);
  await healthy.ask('begin');
  resetPeak(hub.pid);
  const began = performance.now();
  const seen = await perform(run, name, attack);
  const tookMs = performance.now() - began;
  const health = await healthy.ask('check', { n: Math.round(began) });
  const slowest = Math.max(...Object.values(health.times ?? { none: Number.POSITIVE_INFINITY }));
  if (slowest > HEALTHY_MS)
    complaints.push(`${name}: a healthy client waited ${slowest.toFixed(0)} ms; ${health.failure ?? ''}`);
  for (const text of health.trouble) complaints.push(`${name}: ${text}`);
  const { peak } = hub.memory();
  const after = await rested(hub, before);
  for (const text of after.complaints) complaints.push(`${name}: ${text}`);
  const restMib = (after.resident - before.resident) / MIB;
  const row = {
    attack: name,
    time: seconds(tookMs),
    'healthy after ms': slowest.toFixed(0),
    'longest beat ms': health.longestMs.toFixed(0),
    'MiB at most': mib(peak - before.resident),
    'MiB left': restMib.toFixed(1),
    connections: after.connections - before.connections,
    topics: after.topics - before.topics,
    descriptors: after.descriptors - before.descriptors,
    seen,
  };
  return { row, peak, restMib, resident: after.resident };
}

async function perform(run, name, attack) {
  const skip = (why) => {
    run.skipped.push(`${name}: ${why}`);
    return 'skipped, see below';
  };
  try {
    return await attack({ ...run.facts, skip });
  } catch (error) {
    run.complaints.push(`${name}: ${error.message}`);
    return `FAILED: ${error.message}`;
  } finally {
    destroyAll();
  }
}

function blank(row) {
  return Object.fromEntries(Object.keys(row).map((name) => [name, '']));
}

/** The hub's state once it is as before, or when it should have been; with what is not. Memory is waited for, and judged elsewhere. */
async function rested(hub, before) {
  let last;
  const isBack = async () => {
    await hub.ask('collect');
    last = await stateOf(hub);
    return whatIsLeft(last, before).length === 0 && last.resident - before.resident <= MAX_REST_MIB * MIB;
  };
  await until(isBack, 'what it took is back', RETURN_MS).catch(() => {});
  return { ...last, complaints: whatIsLeft(last, before) };
}

function whatIsLeft(last, before) {
  const allowed = { connections: 0, topics: 0, panics: 0, descriptors: MAX_DESCRIPTORS };
  const left = Object.keys(allowed).filter((name) => Math.abs(last[name] - before[name]) > allowed[name]);
  return left.map((name) => `${name} ${before[name]} before, ${last[name]} ${RETURN_MS / 1000} s later`);
}

async function stateOf(hub) {
  const { stats } = await hub.ask('state');
  return {
    connections: stats.connections,
    topics: stats.topics,
    panics: stats.panics,
    descriptors: readdirSync(`/proc/${hub.pid}/fd`).length,
    resident: hub.memory().resident,
  };
}

/** The peak of resident memory begins anew (proc(5), clear_refs). */
function resetPeak(pid) {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

const mib = (bytes) => (bytes / MIB).toFixed(1);

async function startHub(config) {
  const hub = new Child('hub', JSON.stringify(config));
  const { port, url, unknown } = await hub.told('listening');
  return Object.assign(hub, { port, url, unknown, memory: () => memoryOf(hub.pid) });
}
