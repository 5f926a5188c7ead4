// Starts the command line as processes of its own, and waits for what they print.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { eventually } from '../websocket/facts.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const main = join(root, 'dist/cli/main.js');

/** A relay that does not answer is waited for ten seconds, and machines are busy. */
const PATIENCE_MS = 40_000;

/**
 * A started command; `finished` has its exit code and output. Killed when the test is over. `runtime`: what runs the program, with its
 * arguments; `stdin` and `stdout` as `spawn` takes them.
 */
export function start(
  t,
  args,
  { env = {}, stdin = 'ignore', stdout = 'pipe', program = main, cwd = root, runtime } = {},
) {
  const [command, ...before] = runtime ?? [process.execPath];
  const child = spawn(command, [...before, program, ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: '1', ALKPUBSUB_TOKEN: '', ...env },
    stdio: [stdin, stdout, 'pipe'],
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'])
    child[name]?.setEncoding('utf8').on('data', (chunk) => {
      text[name] += chunk;
    });
  t.after(() => child.kill('SIGKILL'));
  const finished = once(child, 'close').then(([code, signal]) => ({ code: code ?? signal, ...text }));
  return { child, text, finished };
}

/** A command that ends by itself. */
export const run = (t, args, options) => start(t, args, options).finished;

/** The objects of `--json`; throws for a line that is none. */
export const objects = (text) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

/** Waits until a started command has printed an object with this `event`. */
export function said({ text }, event) {
  const whole = () => objects(text.stdout.slice(0, text.stdout.lastIndexOf('\n') + 1));
  return eventually(
    () => whole().find((object) => object.event === event),
    () => `"${event}"; so far: ${JSON.stringify(text)}`,
    PATIENCE_MS,
  );
}

/** A hub with `--json`, and where it is reached. */
export async function startHub(t, args = [], options = {}) {
  const hub = start(t, ['hub', '--json', '--port', '0', ...args], options);
  const { websocket, iroh } = await said(hub, 'listening');
  return { ...hub, url: websocket?.where, iroh: iroh?.where, ticket: iroh && `iroh:${iroh.ticket}`, id: iroh?.id };
}

/** A `sub` with `--json` whose subscriptions are active. */
export async function startSub(t, args, options = {}) {
  const sub = start(t, ['sub', '--json', ...args], options);
  await said(sub, 'subscribed');
  return sub;
}

/** What a `sub` with `--json` has printed of events. */
export const messages = (stdout) => objects(stdout).filter(({ event }) => event === 'message');
