// The examples of the documentation: each JavaScript block that is followed by "Output:" is run, and what it prints is compared.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A program that does not end by itself is ended, and the test fails. */
const patienceMs = 60_000;

/** Pages, and whether each of their JavaScript blocks has to have its output. */
const pages = {
  'docs/operators.md': true,
  'docs/schemas.md': true,
  'docs/errors.md': true,
  'docs/protocol.md': true,
  'docs/iroh.md': true,
  'docs/workers.md': false,
  'docs/backplane.md': true,
  'README.md': false,
};

const example = /```js\n([\s\S]*?)```\n(?:\nOutput:\n\n```text\n([\s\S]*?)```)?/g;

for (const [page, needsOutput] of Object.entries(pages)) {
  const text = readFileSync(join(root, page), 'utf8').replaceAll('\r\n', '\n');
  const examples = [...text.matchAll(example)].map(({ 1: code, 2: output, index }) => ({
    code,
    output,
    line: text.slice(0, index).split('\n').length,
  }));

  test(`${page} has examples`, () => {
    assert(examples.some(({ output }) => output !== undefined));
    if (needsOutput) for (const { line, output } of examples) assert.notEqual(output, undefined, `line ${line}`);
  });

  for (const { code, output, line } of examples) {
    if (output === undefined) continue;
    test(`the example at ${page}:${line} prints what stands below it`, async () => {
      assert.equal(await run(code), output);
    });
  }
}

/** What a module prints, run where this package and the development packages are found. */
function run(code) {
  const options = { cwd: root, timeout: patienceMs, killSignal: 'SIGKILL', env: { ...process.env, NO_COLOR: '1' } };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['--input-type=module', '--eval', code], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`ended with ${error.signal ?? error.code}:\n${stdout}${stderr}`));
    });
  });
}
