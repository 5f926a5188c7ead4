// Processes and workers with hubs at servers of others end when they should, and leave nothing behind.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { within } from '../websocket/facts.mjs';

const fixture = fileURLToPath(new URL('fixtures/ends.mjs', import.meta.url));

test('a process ends by itself when hub, spokes and server are closed', async () => {
  const { code, output } = await new Promise((resolve) => {
    execFile(process.execPath, [fixture], { timeout: 60_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.signal ?? error.code), output: stdout + stderr });
    });
  });
  assert.deepEqual([code, output], [0, 'closed\n']);
});

test('ten workers are terminated in the middle of traffic', async () => {
  for (let i = 0; i < 10; i++) {
    const worker = new Worker(fixture);
    const failed = once(worker, 'error').then(([error]) => Promise.reject(error));
    failed.catch(() => {});
    await within(Promise.race([once(worker, 'message'), failed]), 'the worker talks', 60_000);
    await within(worker.terminate(), 'terminate()');
  }
});
