// The conformance suite for every target, in the runtime that runs this, without node:test: prints one JSON object per suite, as it ends.
// Run from the folder of the project by scripts/test-runtimes.mjs. Usage: every-target.mjs [part of the names of suites]
import { casesOf } from '../conformance/cases.mjs';
import { runCases } from '../conformance/runner.mjs';

const suites = [];
globalThis.conformanceSuites = suites;
const cleanups = [];
globalThis.conformanceCleanUps = cleanups;
const files = [
  'memory',
  'websocket',
  'plain-spoke',
  'servers',
  'network',
  'process',
  'worker',
  'iroh',
  'gossip',
  'redis',
  'redis-sets',
];
for (const name of files) await import(`../conformance/${name}.test.mjs`);

for (const runtime of ['Bun', 'Deno'])
  if (runtime in globalThis)
    suites.push({
      name: `two spokes at a relaying hub: ${runtime}.serve`,
      makePair: (await import('./own-server.mjs')).makePair,
      capabilities: { transport: true, echo: false, acknowledges: true },
    });

const part = process.argv[2] ?? '';
for (const { name, makePair, capabilities, skip } of suites.filter((suite) => suite.name.includes(part))) {
  const results = skip ? [] : await runCases(casesOf(capabilities), makePair);
  const failed = results.filter(({ error }) => error !== undefined);
  const passed = results.length - failed.length;
  console.log(JSON.stringify({ suite: name, passed, skip: skip || undefined, failed }));
}
for (const cleanup of cleanups) await cleanup();
// Whatever a failing case has left open must not keep this from ending.
process.exit(0);
