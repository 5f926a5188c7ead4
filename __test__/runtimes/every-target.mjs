// The conformance suite for every target, in the runtime that runs this, without node:test: prints one JSON object per suite, as it ends.
// Run from the folder of the project by scripts/test-runtimes.mjs.
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { casesOf } from '../conformance/cases.mjs';
import { runCases } from '../conformance/runner.mjs';
import { startRedis, withoutRedis } from '../redis/server.mjs';

const suites = [];
globalThis.conformanceSuites = suites;
const cleanups = [];
globalThis.conformanceCleanUps = cleanups;
for (const name of ['memory', 'websocket', 'network', 'process', 'worker', 'iroh'])
  await import(`../conformance/${name}.test.mjs`);

let server;
let pairs = 0;
suites.push({
  name: 'two targets at one Redis',
  skip: withoutRedis,
  capabilities: { transport: true, echo: true, acknowledges: true },
  async makePair() {
    server ??= await startRedis({ after: (cleanup) => cleanups.push(cleanup) });
    const prefix = `pair ${++pairs}:`;
    const [a, b] = [1, 2].map(() => createRedisEventTarget({ url: server.url, prefix }));
    return { a, b, close: () => Promise.all([a.close(), b.close()]) };
  },
});

/** What a runtime cannot do, and what was seen instead. */
const inDeno = {
  'worker targets over a channel':
    'no message comes through a MessageChannel whose both ends are in one thread of Deno; a worker and its host are tested',
};
const notHere = 'Deno' in globalThis ? inDeno : {};

for (const { name, makePair, capabilities, skip: own } of suites) {
  const skip = own || notHere[name];
  const results = skip ? [] : await runCases(casesOf(capabilities), makePair);
  const failed = results.filter(({ error }) => error !== undefined);
  const passed = results.length - failed.length;
  console.log(JSON.stringify({ suite: name, passed, skip: skip || undefined, failed }));
}
for (const cleanup of cleanups) await cleanup();
// Whatever a failing case has left open must not keep this from ending.
process.exit(0);
