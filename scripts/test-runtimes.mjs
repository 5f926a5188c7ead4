// What runs where: the conformance suite on every target, 1000 worker threads that are terminated with live targets in them (beside them the
// official Iroh binding as the control), and processes that end in every state, on each supported runtime. Prints a table, and a reason for
// whatever did not run. Node.js and the control come from npm, once, into target/tools. Builds first, the relay of Iroh too.
// Usage: node scripts/test-runtimes.mjs [--release | --no-build] [--parts conformance,exits,workers] [--runtimes node20,deno,…]
//   [--rounds 1000] [--suites PART OF THEIR NAMES]
//   --release   the optimized addon, as it is shipped; with --no-build whatever is there
import { spawn } from 'node:child_process';
import { install } from '../__test__/runtimes/installed.mjs';
import { build, buildRelay } from './build.mjs';
import { root } from './project.mjs';
import { Failure, parse, say, seconds, whenStarted } from './run.mjs';
import { binaryOf, nodeOf, nodes, runtimeOf } from './runtimes.mjs';

const names = [...Object.keys(nodes), 'deno', 'bun'];

/** Deno's, for the suites: they start servers and read certificates. A program needs less (docs/workers.md, README.md). */
const forSuites = [
  '--allow-ffi',
  '--allow-read',
  '--allow-write',
  '--allow-env',
  '--allow-net',
  '--allow-run',
  '--allow-sys',
];
/** The addon, and reading the scripts of workers. */
const forPrograms = ['--allow-ffi', '--allow-read'];

const conformancePatienceMs = 600_000;
const stormPatienceMs = 900_000;
const exitPatienceMs = 30_000;

function toRuntime(name) {
  if (name in nodes) return { name, command: nodeOf(nodes[name]), toArgs: () => [] };
  return { ...runtimeOf(name === 'deno' ? 'Deno' : 'Bun'), name };
}

/** Runs a script to its end, or for so long; its lines, and how it ended. */
function run({ command, toArgs }, permissions, args, { cwd = root, patienceMs }) {
  const child = spawn(command, [...toArgs(permissions), ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text.out += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    text.err = (text.err + chunk).slice(-4000);
  });
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill('SIGKILL');
  }, patienceMs);
  return new Promise((resolve) => {
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const end = isLate ? `no end within ${patienceMs / 1000} s` : (signal ?? code);
      resolve({ end, lines: text.out.split('\n').filter((line) => line !== ''), err: text.err });
    });
  });
}

/** `{ cell, failures, reasons }` for each row of a part. */
const parts = {
  async conformance(runtime, { suites }) {
    const options = { patienceMs: conformancePatienceMs };
    const { end, lines, err } = await run(runtime, forSuites, ['__test__/runtimes/every-target.mjs', suites], options);
    const rows = {};
    for (const { suite, passed, skip, failed } of lines.filter((line) => line.startsWith('{"suite"')).map(JSON.parse)) {
      const cell = skip ? 'not run' : `${passed} passed${failed.length > 0 ? `, ${failed.length} FAILED` : ''}`;
      const failures = failed.map(({ sentence, error }) => `${sentence}: ${error.split('\n')[0]}`);
      rows[suite] = { cell, failures, reason: skip };
    }
    if (end !== 0) rows['all suites'] = { cell: 'BROKE OFF', failures: [`ended with ${end}: ${err}`] };
    return rows;
  },

  async exits(runtime) {
    const { createWebSocketServerEventTarget } = await import('../dist/event-target-websocket-server.js');
    const fixtures = ['exits.mjs', 'live-worker.mjs'];
    const folder = new URL('../__test__/websocket/fixtures/', import.meta.url);
    const { folder: cwd, remove } = install(fixtures.map((name) => new URL(name, folder)));
    const hub = createWebSocketServerEventTarget({ listen: { port: 0 } });
    await hub.ready();
    const failures = [];
    try {
      for (const [state, { code, url = hub.address.url }] of Object.entries(states)) {
        const options = { cwd, patienceMs: exitPatienceMs };
        const { end, err } = await run(runtime, forPrograms, ['exits.mjs', state, url], options);
        if (end !== code) failures.push(`"${state}" ended with ${end}, not ${code}: ${err.split('\n')[0]}`);
      }
    } finally {
      await hub.close();
      remove();
    }
    const count = Object.keys(states).length;
    const cell = `${count - failures.length} passed${failures.length > 0 ? `, ${failures.length} FAILED` : ''}`;
    return { [`processes that end, ${count} states`]: { cell, failures } };
  },

  async workers(runtime, { rounds }) {
    const files = ['storm.mjs', 'storm-worker.mjs', 'storm-control.mjs'];
    const folder = new URL('../__test__/runtimes/', import.meta.url);
    const { folder: cwd, remove } = install(files.map((name) => new URL(name, folder)));
    const storm = async (permissions, ...args) => {
      const { end, lines, err } = await run(runtime, permissions, ['storm.mjs', String(rounds), ...args], {
        ...{ cwd, patienceMs: stormPatienceMs },
      });
      const survived = Math.max(0, ...lines.filter((line) => /^\d+$/.test(line)).map(Number));
      return { survived, isWhole: lines.at(-1) === 'done' && end === 0, end, err };
    };
    try {
      const ours = await storm(forPrograms, 'ours');
      const broken = `${ours.survived} of ${rounds}, then ${ours.end}: ${ours.err}`;
      const failures = ours.isWhole && ours.survived === rounds ? [] : [broken];
      const control = await storm(['-A'], 'control', binaryOf('@number0/iroh', '1.1.0', 'index.js'));
      const said = control.isWhole ? '' : `, then ${control.end}`;
      return {
        'workers terminated with live targets': { cell: `${ours.survived} of ${rounds}`, failures },
        'the control: the official Iroh binding': {
          ...{ cell: `${control.survived} of ${rounds}${said}`, failures: [] },
          reason: control.isWhole ? undefined : control.err.trim().split('\n').slice(-1)[0].slice(0, 200),
        },
      };
    } finally {
      remove();
    }
  },
};

/** Where nobody listens. */
const nowhere = 'ws://127.0.0.1:1';

/** States in which a process ends by itself, or by `process.exit(7)`; __test__/websocket/fixtures/exits.mjs has them. */
const states = {
  'nothing was made': { code: 0 },
  'a hub was closed': { code: 0 },
  'a spoke was closed': { code: 0 },
  'everything was used and closed': { code: 0 },
  'the spoke failed for good and nobody listens': { code: 0, url: nowhere },
  'a hub is open and unref': { code: 0 },
  'a spoke is open and unref': { code: 0 },
  'a spoke cannot connect': { code: 0, url: nowhere },
  'a spoke cannot connect and is unref': { code: 0, url: nowhere },
  'ready() is pending and unref': { code: 0, url: nowhere },
  'a spoke closes behind its events': { code: 0 },
  'a spoke without a link closes behind its events': { code: 0, url: nowhere },
  'exit while closing': { code: 7 },
  'exit with workers': { code: 7 },
  'end with a worker that is unref': { code: 0 },
};

function print(table, chosen) {
  const rows = [...new Set([...table.values()].flatMap((results) => Object.keys(results)))];
  const width = Math.max(...rows.map((row) => row.length));
  const line = (first, cells) => console.log([first.padEnd(width), ...cells.map((cell) => cell.padEnd(22))].join('  '));
  line(
    '',
    chosen.map((name) => (name in nodes ? `Node.js ${nodes[name]}` : name)),
  );
  for (const row of rows)
    line(
      row,
      chosen.map((name) => table.get(name)[row]?.cell ?? '–'),
    );
  for (const name of chosen)
    for (const [row, { reason }] of Object.entries(table.get(name)))
      if (reason) console.log(`${name}, ${row}: ${reason}`);
}

whenStarted(import.meta.url, async (args) => {
  const flags = { '--no-build': 'flag', '--release': 'flag' };
  const known = { ...flags, '--parts': 'value', '--runtimes': 'value', '--rounds': 'value', '--suites': 'value' };
  const { options, rest } = parse(args, known);
  if (rest.length > 0)
    throw new Failure('for single test files on several versions of Node.js: scripts/test-nodes.mjs', 2);
  const choose = (option, all) => {
    const wanted = options[option]?.split(',') ?? all;
    const unknown = wanted.find((name) => !all.includes(name));
    if (unknown !== undefined) throw new Failure(`${option}: known are ${all.join(', ')}, not ${unknown}`, 2);
    return wanted;
  };
  const [chosen, chosenParts] = [choose('--runtimes', names), choose('--parts', Object.keys(parts))];
  const rounds = Number(options['--rounds'] ?? 1000);
  const suites = options['--suites'] ?? '';
  if (!options['--no-build']) build({ release: options['--release'] });
  if (chosenParts.includes('conformance')) buildRelay();
  const table = new Map(chosen.map((name) => [name, {}]));
  for (const part of chosenParts)
    for (const name of chosen) {
      const start = performance.now();
      const results = await parts[part](toRuntime(name), { rounds, suites });
      Object.assign(table.get(name), results);
      const cells = Object.values(results).map(({ cell }) => cell);
      const bad = Object.values(results).filter(({ failures }) => failures.length > 0).length;
      say(
        `${name}, ${part}: ${cells.length > 3 ? `${cells.length} suites, ${bad} with failures` : cells.join('; ')}, ${seconds(performance.now() - start)}`,
      );
    }
  print(table, chosen);
  const wrong = chosen.flatMap((name) =>
    Object.entries(table.get(name)).flatMap(([row, { failures }]) =>
      failures.map((text) => `${name}, ${row}: ${text}`),
    ),
  );
  if (wrong.length > 0) throw new Failure(wrong.join('\n'));
  say(`nothing failed, on ${chosen.length} runtimes`);
});
