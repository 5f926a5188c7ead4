// The same package, with the same binary, in every runtime: a hub and a spoke exchange events, over a socket and within a network inside
// the process, close, the fault proxy does what it says, and each process ends by itself.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { install } from './installed.mjs';
import { inEachRuntime } from './runtimes.mjs';

let installed;

before(() => {
  const names = ['smoke.mjs', 'iroh.mjs', 'network.mjs', 'fault-proxy.mjs', 'threads.mjs', 'threads-worker.mjs'];
  installed = install(names.map((name) => new URL(name, import.meta.url)));
});

after(() => installed.remove());

/** The one permission that the package needs: sockets are opened by the addon, which is in node_modules. */
const permissions = ['--allow-ffi=node_modules'];

inEachRuntime('hub and spoke', permissions, async (start) => {
  const payload = { text: 'gr\u00fc\u00df dich \u{1f600}', big: 2 ** 53 };
  await prints(start, 'smoke.mjs', {
    greeting: { type: 'greeting', id: 'all', payload },
    answer: { type: 'answer', id: 'one', payload },
    spoke: 'closed',
    hub: 'closed',
  });
});

inEachRuntime('hub and spoke over Iroh', permissions, async (start) => {
  const payload = { text: 'gr\u00fc\u00df dich \u{1f600}' };
  const raw = ['one way', 'direct', true];
  const heard = [payload, payload];
  await prints(start, 'iroh.mjs', { heard, identity: true, refused: 'ERR_FORBIDDEN', kept: true, raw });
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
  const { code, stdout, stderr } = await start([script], installed.folder);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.deepEqual(JSON.parse(stdout), expected);
}
