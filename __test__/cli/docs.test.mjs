// docs/cli.md and the help against what the commands have.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { exitCodes } from '../../dist/cli/failure.js';
import { objects, root, run } from './program.mjs';

const page = readFileSync(join(root, 'docs/cli.md'), 'utf8').replaceAll('\r\n', '\n');
const names = ['hub', 'sub', 'pub', 'keygen', 'doctor'];
const optionsIn = (text) => new Set([...text.matchAll(/--[a-z][a-z-]*/g)].map(([option]) => option));

for (const name of names) {
  test(`${name} --help has an example, and docs/cli.md has its options`, async (t) => {
    const { code, stdout } = await run(t, [name, '--help']);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`examples:\n  # .+\n  .*alkpubsub ${name}`));
    const own = [...stdout.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, option]) => option);
    const row = page.split('\n').find((line) => line.startsWith(`| \`${name}`));
    const documented = optionsIn(row.split(' | ').at(-1));
    assert.deepEqual([...documented].sort(), own.filter((option) => !['--json', '--help'].includes(option)).sort());
  });
}

test('the general help lists all commands and all exit codes', async (t) => {
  const { stdout } = await run(t, ['--help']);
  for (const name of names) assert.match(stdout, new RegExp(`^  ${name}`, 'm'));
  for (const code of Object.values(exitCodes)) assert.match(stdout, new RegExp(`\\b${code} `));
});

test('the table of exit codes has exactly those that there are', () => {
  const rows = [...page.matchAll(/^\| (\d+) \|/gm)].map(([, code]) => Number(code));
  assert.deepEqual(rows, Object.values(exitCodes));
});

test('--version is that of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.equal((await run(t, ['--version'])).stdout, `${version}\n`);
  assert.deepEqual(objects((await run(t, ['--version', '--json'])).stdout), [{ event: 'text', text: version }]);
});
