// An addon that was built without Iroh: what needs it says so when it is imported, everything else is there. The addon is a stand-in with the other names.
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'without-iroh-'));
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
  copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
  const names = Object.keys(createRequire(import.meta.url)('../../loader.cjs'));
  const others = names.filter((name) => !/iroh|endpoint|NativeConnection|NativeStreams|NativeOperation/i.test(name));
  assert.ok(others.includes('NativeHub') && others.length < names.length, names.join());
  writeFileSync(
    join(folder, 'loader.cjs'),
    `for (const name of ${JSON.stringify(others)}) module.exports[name] = class {};`,
  );
});

after(() => rmSync(folder, { recursive: true, maxRetries: 5 }));

const load = (name) => import(pathToFileURL(join(folder, 'dist', `${name}.js`)).href);

for (const name of ['iroh', 'event-target-iroh-hub', 'event-target-iroh-spoke', 'event-target-iroh-gossip'])
  test(`${name} cannot be imported, and the error says what to do`, async () => {
    await assert.rejects(load(name), ({ code, message }) => {
      assert.equal(code, 'ERR_NATIVE_UNAVAILABLE');
      assert.match(message, /built without Iroh[\s\S]*npm run build/);
      return true;
    });
  });

test('what does not need it can be imported', async () => {
  for (const name of ['index', 'hub', 'event-target-websocket-server', 'event-target-redis', 'event-target-process'])
    await load(name);
});
