// Runs commands for the other scripts: output passes through, a failure ends the script with the command's name. Does not retry.
// Invariant: no exit code is lost; whatever fails ends in a non-zero exit code of the whole script.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { root } from './project.mjs';

/** A failure that needs no stack: the text says it all. */
export class Failure extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Tells what the scripts do, on standard error: standard output belongs to the programs that they run. */
export const say = (text) => process.stderr.write(`==> ${text}\n`);

/**
 * Runs a command to its end.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ env?: Record<string, string>, quiet?: boolean, capture?: boolean, cwd?: string }} [options] `quiet`: its standard output goes
 *   to standard error; `capture`: it is returned; `cwd`: not in the root
 * @returns {string} the captured standard output, or nothing
 */
export function run(command, args, { env = {}, quiet = false, capture = false, cwd = root } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['inherit', capture ? 'pipe' : quiet ? 2 : 'inherit', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  });
  const shown = [command === process.execPath ? 'node' : command, ...args].join(' ');
  if (result.error !== undefined) throw new Failure(`could not run "${shown}": ${result.error.message}`);
  if (result.signal !== null) throw new Failure(`"${shown}" was ended by ${result.signal}`);
  if (result.status !== 0) throw new Failure(`"${shown}" failed with exit code ${result.status}`, result.status);
  return result.stdout ?? '';
}

/** Standard output of a command, or `null` when it cannot be run or fails. */
export function probe(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return result.error === undefined && result.status === 0 ? result.stdout : null;
}

/** Runs npm: the one that runs this script, else the one on the path. */
export function npm(args, options) {
  const script = process.env.npm_execpath;
  if (script?.endsWith('npm-cli.js')) return run(process.execPath, [script, ...args], options);
  if (process.platform === 'win32') return run('cmd.exe', ['/d', '/s', '/c', 'npm.cmd', ...args], options);
  return run('npm', args, options);
}

/** Says what is being done and how long it took. */
export function timed(text, work) {
  const start = performance.now();
  say(text);
  const result = work();
  say(`${text.replace(/ \(.*\)$/, '')}: done in ${seconds(performance.now() - start)}`);
  return result;
}

export const seconds = (ms) =>
  ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;

/** Runs `main` when the file was started itself, and not when another script imports it. */
export function whenStarted(url, main) {
  if (process.argv[1] !== fileURLToPath(url)) return;
  Promise.resolve()
    .then(() => main(process.argv.slice(2)))
    .catch((error) => {
      process.stderr.write(`${error instanceof Failure ? `error: ${error.message}` : error.stack}\n`);
      process.exitCode = error instanceof Failure ? error.exitCode : 1;
    });
}

/**
 * Splits arguments into known options and the rest; an unknown option is a failure with exit code 2.
 * @param {readonly string[]} args
 * @param {Record<string, 'flag' | 'value'>} known names with their dashes
 */
export function parse(args, known) {
  const options = {};
  const rest = [];
  const waiting = [...args];
  while (waiting.length > 0) {
    const arg = waiting.shift();
    const [name, inline] = arg.startsWith('--') ? arg.split(/=(.*)/s) : [arg];
    if (!name.startsWith('--')) rest.push(name);
    else if (known[name] === 'flag' && inline === undefined) options[name] = true;
    else if (known[name] === 'value') {
      options[name] = inline ?? waiting.shift();
      if (options[name] === undefined) throw new Failure(`${name} needs a value`, 2);
    } else throw new Failure(`unknown option ${arg}; known: ${Object.keys(known).join(', ') || 'none'}`, 2);
  }
  return { options, rest };
}
