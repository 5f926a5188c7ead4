// Installs the packages as they are published, from a registry on loopback, into empty folders: with npm, pnpm, Bun and Deno, without scripts of
// packages and without Rust on the path. Then imports every entry point as ES module, CommonJS and TypeScript, sends an event through each
// target that needs no server, runs the command line, and takes the addon away. At last it does what README tells a new user, on each runtime
// (new-user.mjs). Prints a table with the seconds of each step.
// Usage: node scripts/test-install.mjs [--no-build] [--debug] [--binaries FOLDER] [npm|pnpm|bun|deno|readme …]
//   --debug     the unoptimized addon, for work on this script
//   --no-build  the addon that is there
//   --binaries  the addon that is in FOLDER: what was built to be published
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { build } from './build.mjs';
import { expectSame, npmScript, succeed } from './fresh.mjs';
import { platforms, thisPlatform } from './platforms.mjs';
import { commandOf, fromRoot, packageJson } from './project.mjs';
import { packAsPublished, serveRegistry } from './registry.mjs';
import { Failure, parse, say, seconds, whenStarted } from './run.mjs';
import { binaryOf, nodeOf, nodes, runtimeOf } from './runtimes.mjs';

const { name: main, exports: entryPoints } = packageJson();

/** What users can import. */
export const entries = Object.keys(entryPoints)
  .filter((entry) => entry !== './package.json')
  .map((entry) => main + entry.slice(1));

const text = 'grüß dich';
/** What __test__/install/esm.mjs hears. */
export const heardOfAll = {
  memory: text,
  pubsub: text,
  websocket: text,
  iroh: text,
  process: text,
  worker: text,
  network: text,
};

/** How each package manager installs into the current folder, and what then runs the scripts there. */
const managers = {
  npm: () => ({
    install: [process.execPath, npmScript(), 'install', main, '--ignore-scripts', '--no-audit', '--no-fund'],
    omit: ['--omit=optional'],
    runtime: runtimeOf('Node.js'),
  }),
  pnpm: () => ({
    install: [pnpm(), 'add', main, '--ignore-scripts'],
    omit: ['--no-optional'],
    runtime: runtimeOf('Node.js'),
  }),
  bun: () => ({
    install: [runtimeOf('Bun').command, 'add', main, '--ignore-scripts'],
    omit: ['--omit=optional'],
    runtime: runtimeOf('Bun'),
  }),
  deno: () => ({
    install: [runtimeOf('Deno').command, 'add', `npm:${main}`],
    // It has no such option.
    omit: [],
    ignoresLibc: true,
    runtime: runtimeOf('Deno'),
  }),
};

/** Beside the managers: what README tells a new user. */
const readme = 'readme';

/** Deno's: the addon, and reading the script of a worker. */
const permissions = ['--allow-ffi', '--allow-read=.'];

/** Its binary: the package named pnpm only finds that one. */
function pnpm() {
  const [platform, exe] = process.platform === 'win32' ? ['win32', '.exe'] : [process.platform, ''];
  return binaryOf(`@pnpm/exe.${platform}-${process.arch}`, '12.21.0', `pnpm${exe}`);
}

/** An empty project that gets its packages from the registry. */
function emptyFolder(parent, name, registry) {
  const folder = join(parent, name);
  mkdirSync(join(folder, '.home'), { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }\n');
  writeFileSync(join(folder, '.npmrc'), `registry=${registry}/\ncache=${join(folder, '.home/cache')}\n`);
  cpSync(fromRoot('__test__/install'), folder, { recursive: true });
  return folder;
}

/** Names of the platform packages that were installed, wherever the manager has put them. */
function installedPlatforms(folder) {
  const all = readdirSync(join(folder, 'node_modules'), { recursive: true }).map((name) => name.replaceAll('\\', '/'));
  return platforms
    .map(({ suffix }) => suffix)
    .filter((suffix) => all.some((name) => name.endsWith(`pubsub-native.${suffix}.node`)));
}

/** All steps of a package manager: what each printed, or why it failed. */
function stepsOf(manager, { folder, registry, hubUrl, parent }) {
  const { install, omit, runtime } = manager;
  const all = JSON.stringify(entries);
  const start = (script, ...args) => [runtime.command, ...runtime.toArgs(permissions), script, ...args];
  const yes = Object.fromEntries(entries.map((name) => [name, true]));
  const bin = join(folder, 'node_modules', main, 'dist/cli/main.js');
  return {
    async install() {
      await succeed(install, folder, registry);
      const { suffix, os, cpu } = thisPlatform();
      const fitting = platforms.filter((other) => other.os === os && other.cpu === cpu).map((other) => other.suffix);
      expectSame('platform packages', installedPlatforms(folder), manager.ignoresLibc ? fitting : [suffix]);
      return manager.ignoresLibc && fitting.length > 1 ? 'passed, with the packages of every C library' : undefined;
    },
    async 'ES modules'() {
      const out = JSON.parse(await succeed(start('esm.mjs', all, join(folder, 'worker.mjs')), folder, registry));
      expectSame('imports and events', out, { imported: yes, heard: heardOfAll });
    },
    async CommonJS() {
      const out = JSON.parse(await succeed(start('commonjs.cjs', all), folder, registry));
      expectSame('requires', out, { required: yes, heard: text });
    },
    async TypeScript() {
      writeTypes(folder);
      await succeed([process.execPath, commandOf.tsc, '-p', 'tsconfig.json'], folder, registry);
    },
    async 'command line'() {
      const args = ['--allow-ffi', '--allow-read', '--allow-env', '--allow-net=127.0.0.1,[::1]', '--allow-sys'];
      const out = await succeed([runtime.command, ...runtime.toArgs(args), bin, 'doctor', '--json'], folder, registry);
      const failed = out
        .trim()
        .split('\n')
        .map(JSON.parse)
        .filter(({ status }) => status === 'failed');
      expectSame(
        'failed checks',
        failed.filter(({ name }) => name !== 'udp'),
        [],
      );
    },
    async 'without addon'() {
      const bare = emptyFolder(parent, `${runtime.name}-bare`.replace(/\W/g, ''), registry);
      await succeed([...install, ...omit], bare, registry);
      if (omit.length === 0) removePlatforms(bare);
      expectSame('platform packages', installedPlatforms(bare), []);
      const command = runtime.name === 'Node.js' ? withWebSocket() : runtime.command;
      const start = [command, ...runtime.toArgs(['--allow-net']), 'without.mjs', hubUrl];
      const { core, spoke, hub } = JSON.parse(await succeed(start, bare, registry));
      expectSame('what goes on', { core, spoke }, { core: 'core', spoke: 'spoke' });
      checkMessage(hub);
      rmSync(bare, { recursive: true });
    },
  };
}

/** What a manager does without an option for it: takes the addons away. */
function removePlatforms(folder) {
  for (const name of readdirSync(join(folder, 'node_modules'), { recursive: true }))
    if (/pubsub-native-(linux|darwin|win32)-[\w-]+(@[\d.]+)?$/.test(name))
      rmSync(join(folder, 'node_modules', name), { recursive: true, force: true });
}

/** A Node.js that has a WebSocket class: those before 22 have none. */
const withWebSocket = () => (globalThis.WebSocket === undefined ? nodeOf(nodes.node24) : process.execPath);

/** The error of a missing addon says all that is needed. */
function checkMessage({ code, message }) {
  expectSame('code', code, 'ERR_NATIVE_UNAVAILABLE');
  const { suffix, libc } = thisPlatform();
  const words = [`${process.platform}-${process.arch}`, `${main}-${suffix}`, packageJson().version, 'npm install'];
  if (libc === 'glibc') words.push('glibc', '2.28');
  const missing = words.filter((word) => !message.includes(word));
  if (missing.length > 0) throw new Failure(`the error does not say ${missing.join(', ')}:\n${message}`);
}

/** A program that uses every entry point with its types. */
function writeTypes(folder) {
  const imports = entries.map((name, n) => `import * as entry${n} from '${name}';`);
  const uses = entries.map((_, n) => `entry${n}`).join(', ');
  const typed = `const events = entry0.createPubSub<{ greeting: { text: string } }>();
events.publish('greeting', 'all', { text: 'hello' });
// @ts-expect-error a payload of another type
events.publish('greeting', 'all', { text: 5 });
export const all = [${uses}];
`;
  writeFileSync(join(folder, 'types.ts'), `${imports.join('\n')}\n${typed}`);
  const compilerOptions = {
    module: 'nodenext',
    target: 'es2023',
    strict: true,
    noEmit: true,
    types: [],
    skipLibCheck: false,
  };
  compilerOptions.lib = ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'];
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['types.ts'] }));
}

async function testInstall(chosen, source) {
  const parent = mkdtempSync(join(tmpdir(), 'install-'));
  const registry = await serveRegistry(packAsPublished(parent, source));
  const { createWebSocketServerEventTarget } = await import('../dist/event-target-websocket-server.js');
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
  await hub.ready();
  const failures = [];
  const rows = [];
  try {
    for (const name of chosen.filter((one) => one !== readme)) {
      const folder = emptyFolder(parent, name, registry.url);
      const surroundings = { folder, registry: registry.url, hubUrl: hub.address.url, parent };
      for (const [step, work] of Object.entries(stepsOf(managers[name](), surroundings))) {
        const start = performance.now();
        const note = await work().catch((error) => {
          failures.push(`${name}, ${step}: ${error.message}`);
          return 'FAILED';
        });
        rows.push([name, step, note ?? 'passed', seconds(performance.now() - start)]);
        say(`${name}, ${step}: ${note ?? 'passed'}`);
        if (step === 'install' && note === 'FAILED') break;
      }
    }
    if (chosen.includes(readme)) {
      // It needs packages that a fresh clone has only after the build.
      const { newUsers } = await import('./new-user.mjs');
      const users = await newUsers(join(parent, readme), registry.url);
      rows.push(...users.rows);
      failures.push(...users.failures);
    }
  } finally {
    registry.close();
    await hub.close();
    rmSync(parent, { recursive: true, maxRetries: 5 });
  }
  for (const [name, step, note, time] of rows)
    console.log(`${name.padEnd(17)}${step.padEnd(22)}${time.padEnd(10)}${note}`);
  const foreign = registry.strangers.filter((path) => path !== '' && !path.startsWith('-/'));
  if (foreign.length > 0) failures.push(`other packages were asked for: ${[...new Set(foreign)].join(', ')}`);
  if (failures.length > 0) throw new Failure(failures.join('\n'));
}

whenStarted(import.meta.url, async (args) => {
  const { options, rest } = parse(args, { '--no-build': 'flag', '--debug': 'flag', '--binaries': 'value' });
  const known = [...Object.keys(managers), readme];
  const unknown = rest.find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Failure(`known are ${known.join(', ')}, not ${unknown}`, 2);
  const source = options['--binaries'];
  if (options['--no-build'] || source !== undefined) build({ only: 'ts' });
  else build({ release: !options['--debug'] });
  await testInstall(rest.length === 0 ? known : rest, resolve(source ?? fromRoot('.')));
});
