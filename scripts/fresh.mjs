// Runs commands as on a machine that has just one runtime: with a home of its own, the registry that is given, and no Rust. Knows no steps.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { Failure } from './run.mjs';

/** What takes longer hangs. */
const patienceMs = 120_000;

/** npm's program, a script for Node.js. */
export function npmScript() {
  const beside = join(dirname(process.execPath), '../lib/node_modules/npm/bin/npm-cli.js');
  const known = [process.env.npm_execpath, beside].find((file) => file?.endsWith('npm-cli.js') && existsSync(file));
  if (known === undefined) throw new Failure('npm was not found: run this as "npm run test:install"');
  return known;
}

/** The path without whatever has Rust. */
function pathWithoutRust() {
  const exe = process.platform === 'win32' ? '.exe' : '';
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.filter(
    (folder) => !existsSync(join(folder, `cargo${exe}`)) && !existsSync(join(folder, `rustc${exe}`)),
  );
}

/** What a command sees of the environment: this and what a system cannot do without. `folders` stand first in the path. */
export function freshEnvironment({ home, registry, folders = [dirname(process.execPath)] }) {
  const needed = ['SystemRoot', 'TEMP', 'TMP', 'TMPDIR'].filter((name) => process.env[name]);
  return {
    ...Object.fromEntries(needed.map((name) => [name, process.env[name]])),
    ...{ PATH: [...folders, ...pathWithoutRust()].join(delimiter), HOME: home, USERPROFILE: home },
    ...{ NO_COLOR: '1', CI: '1', NPM_CONFIG_REGISTRY: registry, DENO_NO_UPDATE_CHECK: '1' },
  };
}

/** Runs a command in a folder; its exit code and output. */
export function finished([command, ...args], folder, registry, env = {}) {
  const options = {
    cwd: folder,
    env: { ...freshEnvironment({ home: join(folder, '.home'), registry }), ...env },
    ...{ timeout: patienceMs, killSignal: 'SIGKILL', maxBuffer: 16 * 1024 * 1024 },
  };
  return new Promise((resolve) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.signal ?? error.code), stdout, stderr });
    });
  });
}

/** As `finished`, for what must succeed; its standard output. */
export async function succeed(command, folder, registry, env) {
  const { code, stdout, stderr } = await finished(command, folder, registry, env);
  if (code !== 0) throw new Failure(`"${command.join(' ')}" ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

export function expectSame(what, got, expected) {
  if (!isDeepStrictEqual(got, expected))
    throw new Failure(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
}
