// Runs the addons for Linux that are here as their users will: in the packages as they are published, with a Node.js of their platform, which is
// fetched together with its C library and, for another architecture, an emulator. Every entry point is imported, an event goes through every target that
// needs no server, and the doctor examines the rest. Prints a table; what cannot run here stands in it with the reason.
// Usage: node scripts/test-packages.mjs [--binaries FOLDER] [--all] [SUFFIX …]
//   --binaries  where pubsub-native.<platform>.node are; default: the root
//   --all       fail when a package for Linux was not run
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isStripped } from './addon-file.mjs';
import { buildTypeScript, installPackages } from './build.mjs';
import { nodeFor } from './foreign.mjs';
import { inspect } from './glibc-floor.mjs';
import { makePackages } from './packages.mjs';
import { platforms, thisPlatform } from './platforms.mjs';
import { fromRoot, packageJson } from './project.mjs';
import { Failure, parse, say, seconds, whenStarted } from './run.mjs';
import { entries, heardOfAll } from './test-install.mjs';

/** Emulated, a step takes up to ten seconds on two cores; one that takes longer than this hangs. */
const patienceMs = 300_000;

/** A project with the main package and that of one platform, as if they had been installed. */
function install(parent, packages, suffix) {
  const folder = join(parent, `installed-${suffix}`);
  const { name } = packageJson();
  for (const made of packages.filter((one) => [name, `${name}-${suffix}`].includes(one.name)))
    cpSync(made.folder, join(folder, 'node_modules', made.name), { recursive: true });
  cpSync(fromRoot('__test__/install'), folder, { recursive: true });
  return folder;
}

/** Runs a script there; its standard output. */
function output([command, ...args], folder) {
  const options = { cwd: folder, timeout: patienceMs, killSignal: 'SIGKILL', maxBuffer: 16 * 1024 * 1024 };
  return new Promise((done, fail) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error === null) done(stdout);
      else fail(new Failure(`ended with ${error.signal ?? error.code}:\n${stdout}${stderr}`));
    });
  });
}

/** Throws when something is not as it should be; the libraries that the doctor says it found. */
async function smoke(command, folder) {
  const all = JSON.parse(
    await output([...command, 'esm.mjs', JSON.stringify(entries), join(folder, 'worker.mjs')], folder),
  );
  const expected = { imported: Object.fromEntries(entries.map((name) => [name, true])), heard: heardOfAll };
  if (!isDeepStrictEqual(all, expected)) throw new Failure(`imports and events: ${JSON.stringify(all)}`);
  const doctor = join(folder, 'node_modules', packageJson().name, 'dist/cli/main.js');
  const checks = (await output([...command, doctor, 'doctor', '--json'], folder)).trim().split('\n').map(JSON.parse);
  const failed = checks.filter(({ status, name }) => status === 'failed' && name !== 'udp');
  if (failed.length > 0) throw new Failure(`the doctor: ${JSON.stringify(failed)}`);
  return checks.find(({ name }) => name === 'platform')?.detail ?? '';
}

/** The ways in which a package can be run here. The first is this very Node.js, where it fits. */
function waysOf(platform) {
  const own = { command: [process.execPath], description: `Node.js ${process.versions.node} of this system` };
  const isOwn = platform.suffix === thisPlatform()?.suffix;
  if (isOwn && platform.os !== 'linux') return [own];
  return [...(isOwn ? [own] : []), nodeFor(platform)];
}

/** What the file says of itself: size, symbols, the C library it needs. */
function factsOf(file, { os }) {
  const size = `${(statSync(file).size / 1e6).toFixed(2)} MB${isStripped(file) === false ? ', with symbols' : ''}`;
  if (os !== 'linux') return size;
  const { libc, floor } = inspect(file);
  return `${size}, ${libc === 'gnu' ? `glibc ${floor}` : 'musl'}`;
}

/** A row for every way in which one platform's package was run, or for the reason why not. */
async function rowsOf(platform, binaries, packages, parent) {
  const { suffix, target, os } = platform;
  const file = join(binaries, `${packageJson().napi.binaryName}.${suffix}.node`);
  if (!existsSync(file))
    return [
      [suffix, '', `not run: no binary; build it with "npm run build:release -- --only addon --target ${target}"`],
    ];
  const facts = factsOf(file, platform);
  if (os !== process.platform) return [[suffix, facts, 'not run: it needs a machine of its own']];
  const folder = install(parent, packages, suffix);
  const rows = [];
  try {
    for (const { command, description } of waysOf(platform)) {
      say(`${suffix}: ${description}`);
      const start = performance.now();
      const outcome = await smoke(command, folder).then(
        (found) => `passed in ${seconds(performance.now() - start)}: ${found}`,
        (error) => {
          say(`${suffix}, ${description}: ${error.message}`);
          return 'FAILED';
        },
      );
      rows.push([suffix, facts, `${description}: ${outcome}`]);
    }
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    rows.push([suffix, facts, `not run: ${error.message}`]);
  }
  return rows;
}

async function testPackages({ binaries, suffixes, all }) {
  const parent = mkdtempSync(join(tmpdir(), 'packages-'));
  mkdirSync(join(parent, 'made'));
  const rows = [];
  try {
    const packages = makePackages({ binaries, folder: join(parent, 'made') });
    for (const platform of platforms.filter(({ suffix }) => suffixes.length === 0 || suffixes.includes(suffix)))
      rows.push(...(await rowsOf(platform, binaries, packages, parent)));
  } finally {
    rmSync(parent, { recursive: true, maxRetries: 5 });
  }
  const width = Math.max(...rows.map(([, facts]) => facts.length)) + 2;
  for (const [suffix, facts, outcome] of rows) console.log(`${suffix.padEnd(18)}${facts.padEnd(width)}${outcome}`);
  const failed = rows.filter(([, , outcome]) => outcome.includes('FAILED'));
  if (failed.length > 0) throw new Failure(`${failed.length} failed`);
  const skipped = rows.filter(([suffix, , outcome]) => suffix.startsWith('linux') && outcome.startsWith('not run'));
  if (all && skipped.length > 0) throw new Failure(`${skipped.map(([suffix]) => suffix).join(', ')} did not run`);
  if (rows.every(([, , outcome]) => outcome.startsWith('not run'))) throw new Failure('nothing was run');
}

whenStarted(import.meta.url, async (args) => {
  const { options, rest } = parse(args, { '--binaries': 'value', '--all': 'flag' });
  const unknown = rest.find((name) => !platforms.some(({ suffix }) => suffix === name));
  if (unknown !== undefined) throw new Failure(`no platform is called ${unknown}`, 2);
  installPackages();
  buildTypeScript();
  const binaries = resolve(options['--binaries'] ?? fromRoot('.'));
  await testPackages({ binaries, suffixes: rest, all: options['--all'] });
});
