// The example of two hubs and a Redis as a user starts it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startRedis, withoutRedis } from './server.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const input = 'docs/decisions/0001-first-path.md';
const lines = readFileSync(new URL(`../../${input}`, import.meta.url), 'utf8')
  .trimEnd()
  .split('\n');

async function run(args, env = {}) {
  const child = spawn(process.execPath, ['scripts/example-redis.mjs', '--no-build', ...args], {
    cwd: root,
    env: { ...process.env, INIT_CWD: root, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
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

test('it starts a Redis, and the subscribers of both hubs print every line in order', {
  skip: withoutRedis,
}, async () => {
  const { code, stdout, stderr } = await run([input]);
  assert.equal(code, 0, stderr);
  for (const name of ['1', '2']) {
    const prefix = `[${name}] `;
    const printed = stdout.split('\n').filter((line) => line.startsWith(prefix));
    assert.deepEqual(
      printed.map((line) => line.slice(prefix.length)),
      lines,
    );
    assert.match(stdout, new RegExp(`^received by subscriber ${name} at hub ${name} +${lines.length}$`, 'm'));
  }
  assert.match(stdout, /^gaps +0$/m);
  assert.match(stdout, /^drops +0$/m);
});

test('it uses the Redis that is named and leaves it running', { skip: withoutRedis }, async (t) => {
  const server = await startRedis(t);
  const { code, stdout, stderr } = await run([input, '--quiet', '--url', server.url, '--subscribers', '3']);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`^received by subscriber 3 at hub 1 +${lines.length}$`, 'm'));
  assert.equal(await server.command('PING'), 'PONG');
});

test('bad arguments end with exit code 2 and one line that says why', async () => {
  for (const [args, reason, env] of [
    [['no-such-file'], /cannot publish no-such-file: there is no such file/],
    [['--subscribers', '1'], /--subscribers must be a whole number from 2 to 64, got 1/],
    [[input], /there is no redis-server: name one with --url, or install it/, { PATH: '', REDIS_SERVER: '' }],
  ]) {
    const { code, stdout, stderr } = await run(args, env);
    assert.equal(code, 2, stderr);
    assert.match(stderr, reason);
    assert.equal(stdout, '');
  }
});
