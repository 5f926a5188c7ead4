// The examples of docs/workers.md that are files of their own: `name.mjs` stands before the block, "Output of `node name.mjs`" before what it
// prints.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const page = readFileSync(join(root, 'docs/workers.md'), 'utf8').replaceAll('\r\n', '\n');
const files = [...page.matchAll(/^`([\w-]+\.mjs)`[^\n]*\n\n(?:<!-- [^\n]+ -->\n)?```js\n([\s\S]*?)```/gm)];
const outputs = [...page.matchAll(/^Output of `node ([\w-]+\.mjs)`:\n\n```text\n([\s\S]*?)```/gm)];
let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'workers-'));
  mkdirSync(join(folder, 'node_modules/@alkdev'), { recursive: true });
  symlinkSync(root, join(folder, 'node_modules/@alkdev/pubsub-native'), 'junction');
  for (const [, name, code] of files) writeFileSync(join(folder, name), code);
});

after(() => rmSync(folder, { recursive: true, maxRetries: 5 }));

test('the page has three files and two outputs', () => {
  assert.deepEqual(
    [...files, ...outputs].map(([, name]) => name),
    ['jobs.mjs', 'jobs-worker.mjs', 'bus.mjs', 'jobs.mjs', 'bus.mjs'],
  );
});

for (const [, name, output] of outputs) {
  test(`${name} prints what stands below it`, async () => {
    const { error, stdout, stderr } = await new Promise((resolve) => {
      const options = { cwd: folder, timeout: 60_000, killSignal: 'SIGKILL', env: { ...process.env, NO_COLOR: '1' } };
      execFile(process.execPath, [name], options, (error, stdout, stderr) => resolve({ error, stdout, stderr }));
    });
    assert.equal(error, null, stderr);
    assert.deepEqual({ stdout, stderr }, { stdout: output, stderr: '' });
  });
}
