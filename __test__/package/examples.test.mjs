// The examples of the documentation: each block of code that is followed by "Output:" is run, and what it prints is compared. One that is not
// has a mark with the reason.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { transformSync } from 'esbuild';
import { blocksOf, fencesOf, pages, root } from './doc-blocks.mjs';

/** A program that does not end by itself is ended, and the test fails. */
const patienceMs = 60_000;

for (const page of pages()) {
  const blocks = blocksOf(page);

  test(`${page}: every block of code is found`, () => assert.equal(blocks.length, fencesOf(page)));

  for (const { code, language, line, output, notRun } of blocks) {
    if (output === undefined) {
      test(`the example at ${page}:${line} has a reason why it is not run`, (t) => {
        assert.notEqual(notRun, undefined, 'put its output below it, or a line <!-- not run: why --> above it');
        t.diagnostic(`${page}:${line} is not run: ${notRun}`);
      });
    } else {
      test(`the example at ${page}:${line} prints what stands below it`, async () => {
        assert.equal(notRun, undefined, 'it has output and a mark that it is not run');
        assert.equal(await run(language === 'ts' ? transformSync(code, { loader: 'ts' }).code : code), output);
      });
    }
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
