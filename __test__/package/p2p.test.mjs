// The example of peers without a server between them, as a user starts it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parts } from '../../examples/p2p/main.mjs';
import { withoutRelay } from '../../examples/p2p/relay-server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const input = 'docs/decisions/0001-first-path.md';
const lines = readFileSync(new URL(`../../${input}`, import.meta.url), 'utf8')
  .trimEnd()
  .split('\n');

async function run(args) {
  const child = spawn(process.execPath, ['scripts/example-p2p.mjs', '--no-build', ...args], {
    cwd: root,
    env: { ...process.env, INIT_CWD: root },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 120_000,
    killSignal: 'SIGKILL',
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'])
    child[name].setEncoding('utf8').on('data', (chunk) => {
      text[name] += chunk;
    });
  const [code] = await once(child, 'close');
  return { code, ...text };
}

const count = (text, pattern) => [...text.matchAll(pattern)].length;

test('every part has every line at every subscriber, in order', { skip: withoutRelay }, async () => {
  const { code, stdout, stderr } = await run([input, '--subscribers', '2']);
  assert.equal(code, 0, stderr + stdout);
  for (const { title } of parts) assert.ok(stderr.includes(title), `${title} has run`);
  for (const name of ['1', '2']) {
    const prefix = `[${name}] `;
    const printed = stdout.split('\n').filter((line) => line.startsWith(prefix));
    assert.deepEqual(
      printed.map((line) => line.slice(prefix.length)),
      parts.flatMap(() => lines),
    );
  }
  assert.equal(count(stdout, /^gaps +0$/gm), parts.length);
  assert.equal(count(stdout, /^drops +0$/gm), parts.length);
  const [, relayed] = /^bytes through the relay +(\d+)$/m.exec(stdout);
  assert.ok(Number(relayed) > lines.join('').length, 'the lines went through the relay');
});

test('bad arguments end with exit code 2 and one line that says why', async () => {
  for (const [args, reason] of [
    [['no-such-file'], /cannot publish no-such-file: there is no such file/],
    [['-'], /standard input can be read once/],
    [['--subscribers', '0'], /--subscribers must be a whole number from 1 to 64, got 0/],
  ]) {
    const { code, stdout, stderr } = await run(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, reason);
    assert.equal(stdout, '');
  }
});
