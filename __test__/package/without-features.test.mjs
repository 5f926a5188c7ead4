// Addons that were built without Iroh, or without Redis: what needs it says so, everything else is there. The addon is a stand-in with the other names.
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const namesOf = {
  Iroh: /iroh|endpoint|NativeConnection|NativeStreams|NativeOperation/i,
  Redis: /redis/i,
};
const folders = {};

before(() => {
  const names = Object.keys(createRequire(import.meta.url)('../../loader.cjs'));
  for (const [feature, own] of Object.entries(namesOf)) {
    const folder = mkdtempSync(join(tmpdir(), `without-${feature}-`));
    folders[feature] = folder;
    cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
    copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
    const others = names.filter((name) => !own.test(name));
    assert.ok(others.includes('NativeHub') && others.length < names.length, names.join());
    const lines = others.map((name) => `module.exports[${JSON.stringify(name)}] = class {};`);
    writeFileSync(join(folder, 'loader.cjs'), lines.join('\n'));
  }
});

after(() => {
  for (const folder of Object.values(folders)) rmSync(folder, { recursive: true, maxRetries: 5 });
});

const load = (feature, name) => import(pathToFileURL(join(folders[feature], 'dist', `${name}.js`)).href);

const saysWithout =
  (feature) =>
  ({ code, message }) => {
    assert.equal(code, 'ERR_NATIVE_UNAVAILABLE');
    assert.match(message, new RegExp(`built without ${feature}[\\s\\S]*npm run build`));
    return true;
  };

for (const name of ['iroh', 'event-target-iroh-hub', 'event-target-iroh-spoke', 'event-target-iroh-gossip'])
  test(`without Iroh ${name} cannot be imported, and the error says what to do`, () =>
    assert.rejects(load('Iroh', name), saysWithout('Iroh')));

test('without Redis its target cannot be imported, and the error says what to do', () =>
  assert.rejects(load('Redis', 'event-target-redis'), saysWithout('Redis')));

test('without Redis a hub cannot be joined by one, and the error says what to do', async () => {
  const { createHub } = await load('Redis', 'hub');
  assert.throws(() => createHub({ backplane: { url: 'redis://127.0.0.1' } }), saysWithout('Redis'));
});

const others = {
  Iroh: ['event-target-redis'],
  Redis: ['iroh', 'event-target-iroh-hub', 'event-target-iroh-spoke', 'event-target-iroh-gossip'],
};

for (const [feature, names] of Object.entries(others))
  test(`what does not need ${feature} can be imported without it`, async () => {
    for (const name of ['index', 'hub', 'event-target-websocket-server', 'event-target-process', ...names])
      await load(feature, name);
  });
