// The same package, with the same binary, in every runtime: a hub and a spoke exchange events, over a socket and within a network inside
// the process, close, and the process ends by itself.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { install } from './installed.mjs';
import { inEachRuntime } from './runtimes.mjs';

let installed;

before(() => {
  installed = install(['smoke.mjs', 'network.mjs'].map((name) => new URL(name, import.meta.url)));
});

after(() => installed.remove());

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

/** The script prints this one object and ends by itself. */
async function prints(start, script, expected) {
  const { code, stdout, stderr } = await start([script], installed.folder);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.deepEqual(JSON.parse(stdout), expected);
}
