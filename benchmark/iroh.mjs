// Events over Iroh on loopback: this package beside the official binding (@number0/iroh) with frames written by hand, JavaScript at both ends, and
// beside the same frames in Rust alone. `npm run bench:iroh`. Variants alternate, in processes that are made anew for each figure. Medians over
// the rounds, smallest and largest in brackets.

import { fork } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { median, memoryOf, spread, table } from './measure.mjs';
import { setUpPackage } from './setup.mjs';

const ROUNDS = Number(process.env.ROUNDS ?? 3);
const SPOKES = 200;
const TRIPS = 1000;

/** Events of one run: enough for about a second each. */
const variants = {
  'this package': { 100: 300_000, 1000: 100_000, fanOut: 500 },
  'official binding': { 100: 10_000, 1000: 3000, fanOut: 20 },
  'Rust alone': { 100: 2_000_000, 1000: 400_000 },
};

try {
  import.meta.resolve('@number0/iroh');
} catch {
  console.error('the official binding is not installed: npm install --no-save @number0/iroh@1.1.0');
  process.exit(1);
}
const folder = process.env.BENCH_PACKAGE ?? setUpPackage();

/** A process, and `ask(command, options)`. */
async function start(variant, role) {
  const child = fork(fileURLToPath(new URL('iroh-client.mjs', import.meta.url)), [folder, variant, role]);
  const waiting = new Map();
  const answer = (command) =>
    new Promise((resolve, reject) => {
      waiting.set(command, (message) => (message.error ? reject(new Error(message.error)) : resolve(message)));
    });
  child.on('message', (message) => waiting.get(message.command)?.(message));
  await answer('ready');
  const ask = (command, options = {}) => {
    const answered = answer(command);
    child.send({ command, ...options });
    return answered;
  };
  const end = () =>
    new Promise((resolve) => {
      child.once('exit', resolve);
      child.kill('SIGKILL');
    });
  return { ask, end, pid: child.pid };
}

/** A hub and so many spokes, in a process each; `work` gets both. */
async function pair(variant, spokes, work) {
  const [hub, other] = [await start(variant, 'hub'), await start(variant, 'spokes')];
  try {
    const { address } = await hub.ask('hub');
    await other.ask('spokes', { address, spokes });
    if (variant !== 'Rust alone') await hub.ask('connected', { spokes });
    return await work(hub, other, address);
  } finally {
    await Promise.all([hub.end(), other.end()]);
  }
}

/** Thousand events per second from a spoke to its hub, in two processes. */
function stream(variant, size) {
  const events = variants[variant][size];
  return pair(variant, 1, async (hub, spoke, address) => {
    const received = hub.ask('receive', { events });
    await spoke.ask('send', { events, size, address });
    return events / (await received).ms;
  });
}

/** The same in one process. */
async function oneProcess(variant, size) {
  const events = variants[variant][size];
  const one = await start(variant, 'both');
  try {
    return events / (await one.ask('both', { events, size })).ms;
  } finally {
    await one.end();
  }
}

/** Microseconds there and back, between two processes: the median of a run. */
function trip(variant, size) {
  return pair(variant, 1, async (hub, spoke, address) => {
    await hub.ask('echo');
    await spoke.ask('trips', { events: TRIPS / 10, size, address });
    return median((await spoke.ask('trips', { events: TRIPS, size, address })).trips);
  });
}

/** Thousand deliveries per second of a hub to 200 spokes in another process. */
function fanOut(variant) {
  const events = variants[variant].fanOut;
  return pair(variant, SPOKES, async (hub, spokes) => {
    const received = spokes.ask('receive', { events: events * SPOKES });
    await hub.ask('fanOut', { events, size: 100 });
    return (events * SPOKES) / (await received).ms;
  });
}

/** KiB that the process of the hub has grown by for each of 200 connections. */
async function memory(variant) {
  const [hub, other] = [await start(variant, 'hub'), await start(variant, 'spokes')];
  try {
    const { address } = await hub.ask('hub');
    await other.ask('spokes', { address, spokes: 1 });
    await hub.ask('connected', { spokes: 1 });
    const before = memoryOf(hub.pid).resident;
    await other.ask('spokes', { address, spokes: SPOKES });
    await hub.ask('connected', { spokes: SPOKES + 1 });
    return (memoryOf(hub.pid).resident - before) / SPOKES / 1024;
  } finally {
    await Promise.all([hub.end(), other.end()]);
  }
}

const figures = [
  ['two processes, 100 B, thousand events/s', (variant) => stream(variant, 100)],
  ['two processes, 1 KB, thousand events/s', (variant) => stream(variant, 1000)],
  ['one process, 100 B, thousand events/s', (variant) => oneProcess(variant, 100)],
  ['one process, 1 KB, thousand events/s', (variant) => oneProcess(variant, 1000)],
  ['round trip, 100 B, µs p50', (variant) => trip(variant, 100)],
  ['round trip, 1 KB, µs p50', (variant) => trip(variant, 1000)],
  ['fan-out to 200 spokes, thousand deliveries/s', fanOut, 'JavaScript alone'],
  ['memory per connection, KiB', memory, 'JavaScript alone'],
];

console.log(
  `Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, ${ROUNDS} rounds, envelopes of 100 and 1000 bytes\n`,
);
const rows = [];
for (const [figure, measure, without] of figures) {
  const names = Object.keys(variants).filter((name) => without === undefined || name !== 'Rust alone');
  const results = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round++) for (const name of names) results[name].push(await measure(name));
  const shown = Object.keys(variants).map((name) => [name, results[name] ? spread(results[name], 1) : '–']);
  const [own, other] = ['this package', 'official binding'].map((name) => median(results[name]));
  rows.push({ '': figure, ...Object.fromEntries(shown), 'this package ÷ official': (own / other).toFixed(2) });
  console.error(JSON.stringify(rows.at(-1)));
}
console.log(table(rows));
