// The package in a folder of its own, as a user has it, and the runtimes that can be had there.
// Deno and Bun come from npm packages; where one has no binary for this machine its tests are skipped, with CI=true they fail.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const isCI = process.env.CI === 'true' || process.env.CI === '1';
const exe = process.platform === 'win32' ? '.exe' : '';
const bunArch = process.arch === 'arm64' ? 'aarch64' : process.arch;
const bunPlatform = process.platform === 'win32' ? 'windows' : process.platform;
const denoSuffix = process.platform === 'linux' ? '-glibc' : '';

export const runtimes = [
  { name: 'Node.js', commands: [process.execPath], args: [], serverArgs: [] },
  {
    name: 'Deno',
    commands: [join(root, `node_modules/@deno/${process.platform}-${process.arch}${denoSuffix}/deno${exe}`), 'deno'],
    // The one permission that the package needs: sockets are opened by the addon.
    args: ['run', '--no-prompt', '--allow-ffi'],
    serverArgs: ['run', '--no-prompt', '--allow-ffi', '--allow-net', '--allow-env', '--allow-read'],
  },
  {
    name: 'Bun',
    commands: [join(root, `node_modules/@oven/bun-${bunPlatform}-${bunArch}/bin/bun${exe}`), 'bun'],
    args: [],
    serverArgs: [],
  },
];

/** The command of a runtime; undefined where a test is to be skipped. */
export function commandOf({ name, commands }) {
  const command = commands.find(runs);
  if (command === undefined) assert.ok(!isCI, `${name} has no binary for this machine, and CI needs it`);
  return command;
}

function runs(command) {
  if (command.includes('node_modules') && !existsSync(command)) return false;
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** A folder with the package and these packages of ours installed, and these files (URLs); `remove` removes it. */
export function install(files, packages = []) {
  const folder = mkdtempSync(join(tmpdir(), 'runtimes-'));
  const target = join(folder, 'node_modules/@alkdev/pubsub-native');
  mkdirSync(target, { recursive: true });
  cpSync(join(root, 'dist'), join(target, 'dist'), { recursive: true });
  const binaries = readdirSync(root).filter((name) => name.endsWith('.node'));
  assert.ok(binaries.length > 0, 'the addon is not built: run "npm run build"');
  for (const name of ['package.json', 'loader.cjs', ...binaries]) copyFileSync(join(root, name), join(target, name));
  for (const name of packages) {
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), link, 'junction');
  }
  for (const file of files) copyFileSync(file, join(folder, file.pathname.split('/').at(-1)));
  const dependencies = Object.fromEntries(['@alkdev/pubsub-native', ...packages].map((name) => [name, '*']));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module', dependencies }));
  return { folder, remove: () => rmSync(folder, { recursive: true, maxRetries: 5 }) };
}
