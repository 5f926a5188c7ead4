// When a process with endpoints ends by itself.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { within } from '../websocket/facts.mjs';

function start(t, which) {
  const fixture = fileURLToPath(new URL('fixtures/pending.mjs', import.meta.url));
  const child = spawn(process.execPath, [fixture, which], { stdio: ['ignore', 'pipe', 'pipe'] });
  const run = { child, stdout: '', stderr: '', ended: once(child, 'close').then(([code, signal]) => signal ?? code) };
  child.stdout.setEncoding('utf8').on('data', (text) => (run.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (run.stderr += text));
  t.after(() => child.kill('SIGKILL'));
  return run;
}

test('what waits at open endpoints does not keep a process alive', async (t) => {
  const run = start(t, 'unref');
  assert.equal(await within(run.ended, 'the end of the process'), 0, run.stderr);
  assert.deepEqual([run.stdout, run.stderr], ['waiting\n', '']);
});

test('an endpoint with ref() does', async (t) => {
  const run = start(t, 'ref');
  while (!run.stdout.includes('ERR_')) await within(once(run.child.stdout, 'data'), 'a word of the process');
  assert.equal(run.stdout, 'waiting\nERR_TIMED_OUT\n');
  assert.deepEqual([run.child.exitCode, run.child.signalCode, run.stderr], [null, null, '']);
});
