// The runtimes that tests start, and how to start them. Deno and Bun come from npm packages; where one has no binary for this machine its
// test is skipped, with CI=true it fails.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));
const isCI = process.env.CI === 'true' || process.env.CI === '1';
const exe = process.platform === 'win32' ? '.exe' : '';
const bunArch = process.arch === 'arm64' ? 'aarch64' : process.arch;
const bunPlatform = process.platform === 'win32' ? 'windows' : process.platform;
const denoSuffix = process.platform === 'linux' ? '-glibc' : '';

/** A process that does not end by itself is ended, and the test fails. */
const patienceMs = 60_000;

export const runtimes = [
  { name: 'Node.js', commands: [process.execPath], toArgs: () => [] },
  {
    name: 'Deno',
    commands: [join(root, `node_modules/@deno/${process.platform}-${process.arch}${denoSuffix}/deno${exe}`), 'deno'],
    toArgs: (permissions) => ['run', '--no-prompt', ...permissions],
  },
  {
    name: 'Bun',
    commands: [join(root, `node_modules/@oven/bun-${bunPlatform}-${bunArch}/bin/bun${exe}`), 'bun'],
    toArgs: () => [],
  },
];

/**
 * A test for each runtime: `check` gets `start`, which runs a script to its end.
 * @param {string} sentence
 * @param {readonly string[]} permissions Deno's
 * @param {(start: (args: readonly string[], cwd: string) => Promise<{ code: unknown, stdout: string, stderr: string }>, t: object) => Promise<void>} check
 */
export function inEachRuntime(sentence, permissions, check) {
  for (const runtime of runtimes) {
    test(`${sentence} in ${runtime.name}`, async (t) => {
      const command = commandOf(runtime);
      if (command === undefined) return t.skip(`${runtime.name} is not installed for this machine`);
      await check((args, cwd) => finished(command, [...runtime.toArgs(permissions), ...args], cwd), t);
    });
  }
}

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

function finished(command, args, cwd) {
  return new Promise((resolve) => {
    const options = { cwd, timeout: patienceMs, killSignal: 'SIGKILL', env: { ...process.env, NO_COLOR: '1' } };
    execFile(command, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.signal ?? error.code), stdout, stderr });
    });
  });
}
