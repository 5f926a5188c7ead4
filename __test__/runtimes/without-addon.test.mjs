// Where no binary fits: spokes run in plain TypeScript over the runtime's own WebSocket, and a warning says so once; hubs cannot be imported.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { inEachRuntime, root } from './runtimes.mjs';

const run = promisify(execFile);

let folder;
let hub;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'without-addon-'));
  const target = join(folder, 'node_modules/@alkdev/pubsub-native');
  mkdirSync(target, { recursive: true });
  cpSync(join(root, 'dist'), join(target, 'dist'), { recursive: true });
  for (const name of ['package.json', 'loader.cjs', 'platform.cjs']) copyFileSync(join(root, name), join(target, name));
  copyFileSync(new URL('without-addon.mjs', import.meta.url), join(folder, 'without-addon.mjs'));
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ type: 'module', dependencies: { '@alkdev/pubsub-native': '*' } }),
  );
  hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
  await hub.ready();
});

after(async () => {
  await hub.close();
  rmSync(folder, { recursive: true, maxRetries: 5 });
});

const heard = { ready: { acknowledged: true }, payload: 'grüß dich', states: ['closed', 'closed'] };
const withWebSocket = { ...heard, warnings: ['ERR_NATIVE_UNAVAILABLE'] };

inEachRuntime('two spokes without the addon', ['--allow-net'], async (start, t) => {
  const { code, stdout, stderr } = await start(['without-addon.mjs', hub.address.url], folder);
  assert.equal(code, 0, stdout + stderr);
  // Node.js has a WebSocket class from version 22 on.
  const hasNone = t.name.endsWith('Node.js') && globalThis.WebSocket === undefined;
  assert.deepEqual(JSON.parse(stdout), hasNone ? { thrown: 'ERR_NATIVE_UNAVAILABLE' } : withWebSocket, stderr);
});

test('a WebSocket class of the caller is used instead, without a warning', async () => {
  const { href } = pathToFileURL(join(root, 'node_modules/ws/wrapper.mjs'));
  const { stdout } = await run(process.execPath, ['without-addon.mjs', hub.address.url, href], { cwd: folder });
  assert.deepEqual(JSON.parse(stdout), { ...heard, warnings: [] });
});

test('a hub cannot be imported, and the error says what to do', async () => {
  const code = "await import('@alkdev/pubsub-native/event-target-websocket-server')";
  const failing = run(process.execPath, ['--input-type=module', '-e', code], { cwd: folder });
  await assert.rejects(failing, ({ stderr }) =>
    /could not be loaded on [\w-]+[\s\S]*ERR_NATIVE_UNAVAILABLE/.test(stderr),
  );
});
