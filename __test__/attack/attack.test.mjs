// A short run of `npm run attack`: every attack once, on a smaller scale, against a hub in a process of its own.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { seedFor } from '../core/random.mjs';

const main = fileURLToPath(new URL('../../attack/main.mjs', import.meta.url));
/** A run that takes longer hangs. */
const PATIENCE_MS = 240_000;

function attack(...args) {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [main, '--no-build', ...args.map(String)],
      { timeout: PATIENCE_MS },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : (error.signal ?? error.code), stdout, stderr }),
    );
  });
}

test('after each attack healthy clients get their events, and what it took is back', async (t) => {
  if (!existsSync('/proc/self/status')) return t.skip('memory and descriptors are read from /proc, which is not there');
  const { code, stdout, stderr } = await attack('--short', '--seed', seedFor(t));
  assert.equal(code, 0, `${stdout}${stderr}`);
  const rows = stdout.split('\n').filter((line) => line.startsWith('| '));
  assert.ok(rows.length >= 28, `${rows.length} rows`);
  for (const line of stdout.split('\n').filter((line) => line.startsWith('SKIPPED'))) t.diagnostic(line);
});

test('an attack that there is not is a mistake', async () => {
  const { code, stderr } = await attack('--only', 'nothing of this name');
  assert.equal(code, 2);
  assert.match(stderr, /no attack is called like "nothing of this name"/);
});
