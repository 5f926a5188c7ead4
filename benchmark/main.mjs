// `npm run bench`: this package beside its peers, alternating in one run. Rows go to a file, one for each scenario, peer and round.
// Usage: npm run bench -- [scenario or its beginning …] [--rounds 5] [--ms 1000] [--peers ours,ws] [--rows target/bench/rows.json]
//   [--before folder of an older build of the package] [--package folder of a build, instead of making one] [--debug]
// With --debug the addon and the example are those that tests use: to see that it works, not how fast. Linux only: it reads /proc.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, resolve } from 'node:path';
import { fromRoot } from '../scripts/project.mjs';
import { Failure, parse, probe, run, say, whenStarted } from '../scripts/run.mjs';
import { contestants } from './contestants.mjs';
import { bun, Launcher } from './processes.mjs';
import { peers, scenarios } from './scenarios.mjs';
import { setUpPackage } from './setup.mjs';
import { tableOf } from './tables.mjs';

whenStarted(import.meta.url, async (args) => {
  const known = {
    '--rounds': 'value',
    '--ms': 'value',
    '--peers': 'value',
    '--rows': 'value',
    '--before': 'value',
    '--package': 'value',
    '--debug': 'flag',
  };
  const { options, rest } = parse(args, known);
  const plan = {
    rounds: positive('--rounds', options['--rounds'] ?? 5),
    ms: positive('--ms', options['--ms'] ?? 1000),
    peers: options['--peers']?.split(',') ?? Object.keys(peers),
    before: options['--before'],
    package: options['--package'],
    isDebug: options['--debug'] ?? false,
  };
  const unknown = plan.peers.find((peer) => !(peer in peers));
  if (unknown !== undefined) throw new Failure(`no peer is called ${unknown}: ${Object.keys(peers).join(', ')}`, 2);
  const launcher = new Launcher(buildFor(plan));
  const file = resolve(options['--rows'] ?? fromRoot('target/bench/rows.json'));
  console.log(describeMachine(plan));
  for (const name of chosen(rest)) {
    const rows = await measure(name, plan, launcher);
    keep(file, name, rows);
    console.log(`\n${name}: ${scenarios[name].title}\n${tableOf(rows)}`);
  }
  say(`rows are in ${file}`);
});

function positive(name, value) {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) throw new Failure(`${name} must be a positive integer, got ${value}`, 2);
  return number;
}

function chosen(parts) {
  const names = Object.keys(scenarios);
  const unknown = parts.find((part) => !names.some((name) => name.startsWith(part)));
  if (unknown !== undefined) throw new Failure(`no scenario begins with ${unknown}:\n  ${names.join('\n  ')}`, 2);
  return parts.length === 0
    ? names
    : names.filter((name) => parts.some((part) => name === part || (!names.includes(part) && name.startsWith(part))));
}

function buildFor({ isDebug, before, package: given }) {
  const profile = isDebug ? [] : ['--release'];
  run('cargo', ['build', ...profile, '-p', 'alkpubsub-engine', '--example', 'bench'], { quiet: true });
  return {
    before: before === undefined ? undefined : resolve(before),
    folder: given !== undefined ? resolve(given) : isDebug ? fromRoot('.') : setUpPackage(),
    example: fromRoot('target', isDebug ? 'debug' : 'release', 'examples/bench'),
  };
}

/** All rounds of a scenario, its peers taking turns. */
async function measure(name, plan, launcher) {
  const scenario = scenarios[name];
  const known = plan.before === undefined ? scenario.peers : ['before', ...scenario.peers];
  const taking = known.filter((peer) => plan.peers.includes(peer));
  const field = [];
  const rows = [];
  say(name);
  try {
    for (const peer of taking)
      field.push({ peer, ...(await contestants[scenario.kind](launcher, peer, scenario.load)) });
    for (const { round, isFresh } of field) if (!isFresh) await round(plan.ms);
    for (let round = 0; round < plan.rounds; round++)
      for (const { peer, round: play } of field) rows.push({ scenario: name, peer, round, ...(await play(plan.ms)) });
  } finally {
    await Promise.all(field.map(({ stop }) => stop()));
  }
  return rows;
}

/** Rows of this scenario in place of older ones. */
function keep(file, name, rows) {
  mkdirSync(dirname(file), { recursive: true });
  const kept = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : [];
  const all = [...kept.filter(({ scenario }) => scenario !== name), ...rows.map(rounded)];
  writeFileSync(file, `[\n${all.map((row) => JSON.stringify(row)).join(',\n')}\n]\n`);
}

function rounded(row) {
  const short = (value) => (typeof value === 'number' ? Number(value.toPrecision(5)) : value);
  return Object.fromEntries(Object.entries(row).map(([key, value]) => [key, short(value)]));
}

function describeMachine({ rounds, ms }) {
  const bunVersion = probe(bun, ['--version'])?.trim();
  const [cpu] = cpus();
  return `Node ${process.version}, Bun ${bunVersion}, ${cpus().length} × ${cpu.model}, ${rounds} rounds of ${ms} ms after one to warm up`;
}
