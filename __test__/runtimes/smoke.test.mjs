// The same package, with the same binary, in every runtime: a hub and a spoke exchange events, over a socket and within a network inside
// the process, close, the fault proxy does what it says, and each process ends by itself.
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { inEachRuntime, root } from './runtimes.mjs';

let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'runtimes-'));
  const target = join(folder, 'node_modules/@alkdev/pubsub-native');
  mkdirSync(target, { recursive: true });
  cpSync(join(root, 'dist'), join(target, 'dist'), { recursive: true });
  const binaries = readdirSync(root).filter((name) => name.endsWith('.node'));
  assert.ok(binaries.length > 0, 'the addon is not built: run "npm run build"');
  for (const name of ['package.json', 'loader.cjs', ...binaries]) copyFileSync(join(root, name), join(target, name));
  for (const name of ['smoke.mjs', 'network.mjs', 'fault-proxy.mjs', 'threads.mjs', 'threads-worker.mjs'])
    copyFileSync(new URL(name, import.meta.url), join(folder, name));
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ type: 'module', dependencies: { '@alkdev/pubsub-native': '*' } }),
  );
});

after(() => rmSync(folder, { recursive: true, maxRetries: 5 }));

/** The one permission that the package needs: sockets are opened by the addon. */
const permissions = ['--allow-ffi'];

inEachRuntime('hub and spoke', permissions, async (start) => {
  const payload = { text: 'gr\u00fc\u00df dich \u{1f600}', big: 2 ** 53 };
  await prints(start, 'smoke.mjs', {
    greeting: { type: 'greeting', id: 'all', payload },
    answer: { type: 'answer', id: 'one', payload },
    spoke: 'closed',
    hub: 'closed',
  });
});

inEachRuntime('a network with a cut', permissions, (start) =>
  prints(start, 'network.mjs', { heard: ['before', 'after'], topics: ['chat:1'], spoke: 'closed', hub: 'closed' }),
);

// The proxy has no part in the addon and opens its own sockets.
inEachRuntime('the fault proxy', [...permissions, '--allow-net=127.0.0.1'], (start) =>
  prints(start, 'fault-proxy.mjs', {
    cut: ['FIN', 'FIN'],
    reset: ['ECONNRESET', 'ECONNRESET'],
    stalled: { isPushedBack: true, came: 0 },
    delayed: '0123456789',
    halfClosed: '0123456789!',
    refused: 'ECONNRESET',
  }),
);

/** Deno reads the script of a worker only where it may read. */
inEachRuntime('threads', [...permissions, '--allow-read=.'], (start, t) => {
  const payload = { text: 'gr\u00fc\u00df dich \u{1f600}' };
  const kind = { answer: payload, news: payload, code: 1006 };
  const web = t.name.endsWith('Node.js') ? {} : { web: kind };
  return prints(start, 'threads.mjs', { outside: 'ERR_NOT_A_WORKER', threads: kind, ...web });
});

/** The script prints this one object and ends by itself. */
async function prints(start, script, expected) {
  const { code, stdout, stderr } = await start([script], folder);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.deepEqual(JSON.parse(stdout), expected);
}
