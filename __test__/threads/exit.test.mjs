// When a process with thread targets ends: they hold it while they have listeners or owe an answer, and not otherwise.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PATIENCE_MS = 60_000;
const head = `
  import { Worker } from 'node:worker_threads';
  import { createEvent } from '@alkdev/pubsub-native';
  import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
  import { createWorkerHostEventTarget } from '@alkdev/pubsub-native/event-target-worker';
  const bus = createProcessEventTarget('exit');
  const sayAlive = () => setTimeout(() => console.log('alive'), 200).unref();
`;

/** Runs a module; `stopAt` is a line at which it is ended. */
async function run(t, source, stopAt) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', head + source], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  t.after(() => clearTimeout(timer));
  let stdout = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
    if (stopAt !== undefined && stdout.includes(stopAt)) child.kill('SIGKILL');
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, stdout };
}

describe('a process ends by itself with code 0', { concurrency: 2 }, () => {
  for (const [when, source] of [
    ['a member of the bus has no listener', `bus.dispatchEvent(createEvent('a', 'b', 1));`],
    [
      'its listeners are gone',
      `const f = () => {}; bus.addEventListener('a:b', f); bus.removeEventListener('a:b', f);`,
    ],
    ['it listens to its life cycle alone', `bus.addEventListener('open', () => console.log('open'));`],
    ['it is unref', `bus.addEventListener('a:b', () => {}); bus.unref();`],
    ['it was unref before', `bus.unref(); bus.addEventListener('a:b', () => {});`],
    ['it was closed', `bus.addEventListener('a:b', () => {}); bus.close();`],
    [
      'everything was awaited',
      `await bus.ready(); bus.addEventListener('a:b', () => {}); await bus.ready('a:b'); await bus.flush(); await bus.drain();
       await bus.close(); console.log('awaited');`,
    ],
    [
      'a worker ended that a host listened to',
      `const worker = new Worker('1', { eval: true }); const host = createWorkerHostEventTarget(worker);
       host.addEventListener('a:b', () => {}); worker.on('exit', () => console.log('worker ended'));`,
    ],
  ]) {
    test(`when ${when}`, async (t) => {
      const { code, signal } = await run(t, source);
      assert.deepEqual({ code, signal }, { code: 0, signal: null });
    });
  }
});

describe('a process goes on', { concurrency: 2 }, () => {
  for (const [when, source] of [
    ['while a member of the bus has a listener', `bus.addEventListener('a:b', () => {}); sayAlive();`],
    ['when it is ref again', `bus.unref(); bus.addEventListener('a:b', () => {}); bus.ref(); sayAlive();`],
    [
      'while a host listens to a worker that is unref',
      `const worker = new Worker('setInterval(() => {}, 1000)', { eval: true }); worker.unref();
       createWorkerHostEventTarget(worker).addEventListener('a:b', () => {}); sayAlive();`,
    ],
  ]) {
    test(when, async (t) => {
      const { signal, stdout } = await run(t, source, 'alive');
      assert.deepEqual({ signal, stdout }, { signal: 'SIGKILL', stdout: 'alive\n' });
    });
  }
});
