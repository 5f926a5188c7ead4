// All tests: installs npm packages, builds, then type tests, cargo's tests and node:test, whose own summaries come last.
// Never touches the system. Usage: node scripts/test.mjs [--only types|rust|js] [--release | --no-build] [part of a test file's path …]
// With --release the addon is the optimized one, as it is shipped; with --no-build whatever is there.
import { existsSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { build, buildRelay } from './build.mjs';
import { commandOf, fromRoot, lockedInCI, root } from './project.mjs';
import { Failure, parse, probe, run, say, timed, whenStarted } from './run.mjs';

/** A test that takes longer hangs. Generous, for a busy machine with two cores. */
const fileTimeoutMs = 300_000;

/** Test files at the same time: the soak tests want a core for themselves. */
const concurrency = 2;

/** @param {{ only?: 'types' | 'rust' | 'js', release?: boolean, noBuild?: boolean, filters?: readonly string[] }} [options] */
export function test({ only, release = false, noBuild = false, filters = [] } = {}) {
  const failures = [];
  const step = (name, work) => {
    if (only !== undefined && only !== name) return;
    try {
      work();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      say(`FAILED: ${error.message}`);
      failures.push(name);
    }
  };
  if (only !== 'rust' && !noBuild) build({ release });
  step('types', typeTests);
  step('rust', rustTests);
  step('js', () => javaScriptTests(filters));
  if (failures.length > 0) throw new Failure(`these tests failed: ${failures.join(', ')}`);
}

function typeTests() {
  if (!existsSync(fromRoot('__test__/types'))) throw new Failure('__test__/types is missing');
  timed('type tests', () => run(process.execPath, [commandOf.tsc, '-p', 'tsconfig.test.json'], { quiet: true }));
}

/** The engine only: the addon is a cdylib, what it does is tested from JavaScript. */
function rustTests() {
  say('cargo test (the first time takes about 2 minutes)');
  run('cargo', ['test', '--no-fail-fast', '--package', 'alkpubsub-engine', '--features', 'iroh', ...lockedInCI()]);
}

function javaScriptTests(filters) {
  const files = testFiles(filters);
  if (files.some((file) => /iroh|p2p|__test__.nat|cli.relay/.test(file))) buildRelay();
  say(`node --test, ${files.length} files`);
  run(process.execPath, ['--test', '--test-reporter=spec', ...testLimits.flags, ...files]);
  const redis = files.filter((file) => file.includes('redis'));
  if (redis.length > 0 && !hasRedis())
    say(
      `no redis-server: run scripts/provision or "apt-get install redis-server"; these did not run: ${redis.join(' ')}`,
    );
}

const hasRedis = () =>
  [process.env.REDIS_SERVER, 'redis-server', 'valkey-server'].some(
    (name) => name !== undefined && probe(name, ['--version']) !== null,
  );

/** How node --test is to treat our files. */
export const testLimits = {
  flags: [`--test-concurrency=${concurrency}`, `--test-timeout=${fileTimeoutMs}`],
  timeoutMs: fileTimeoutMs,
};

/** The files whose path has one of these parts. Listed here, because `node --test` knows no patterns before Node 21. */
export function testFiles(filters) {
  const folder = fromRoot('__test__');
  const files = readdirSync(folder, { recursive: true })
    .map((name) => relative(root, join(folder, name)).split(sep).join('/'))
    .filter((name) => name.endsWith('.test.mjs'))
    .filter((file) => filters.length === 0 || filters.some((part) => file.includes(part)));
  if (files.length === 0) throw new Failure(`no test file matches ${filters.join(' ') || '__test__/**/*.test.mjs'}`);
  return files.sort();
}

whenStarted(import.meta.url, (args) => {
  const { options, rest } = parse(args, { '--only': 'value', '--release': 'flag', '--no-build': 'flag' });
  const only = options['--only'];
  if (![undefined, 'types', 'rust', 'js'].includes(only))
    throw new Failure('usage: npm test -- [--only types|rust|js] [--release | --no-build] [part of a path …]', 2);
  test({ only, release: options['--release'], noBuild: options['--no-build'], filters: rest });
});
