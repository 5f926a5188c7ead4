// Who may import whom in ts/, read from what was built: docs/architecture.md.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { test } from 'node:test';

const dist = new URL('../../dist/', import.meta.url);

function importsOf(file) {
  const text = readFileSync(new URL(file, dist), 'utf8');
  return [...text.matchAll(/from '([^']+)'/g)].map(([, name]) => name);
}

/** The file of dist/ that an import of `file` means. */
const resolved = (file, name) => posix.join(posix.dirname(file), name);

/** A file and everything it imports, directly or not. */
function closure(file, seen = new Set()) {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const name of importsOf(file)) if (name.startsWith('.')) closure(resolved(file, name), seen);
  return seen;
}

for (const entry of [
  'index.js',
  'websocket-object.js',
  'browser/event-target-websocket-client.js',
  'event-target-worker.js',
]) {
  test(`${entry} runs in a browser: neither it nor what it imports needs Node or the addon`, () => {
    for (const file of closure(entry)) {
      assert(!['addon.js', 'native.js'].includes(file), `${entry} reaches ${file}`);
      for (const name of importsOf(file)) assert(name.startsWith('.'), `${file} imports ${name}`);
    }
  });
}

test('only addon.js loads the addon, and only the factories import it', () => {
  const names = readdirSync(dist, { recursive: true }).map((name) => name.replaceAll('\\', '/'));
  const files = names.filter((name) => name.endsWith('.js'));
  const loads = files.filter((file) => readFileSync(new URL(file, dist), 'utf8').includes('loader.cjs'));
  assert.deepEqual(loads, ['addon.js']);
  const users = files.filter((file) =>
    importsOf(file).some((name) => ['addon.js', 'native.js'].includes(resolved(file, name))),
  );
  for (const user of users)
    assert.match(
      user,
      /^(cli\/(doctor|hub)|event-target-|hub-options|iroh(-addon|-address)?\.js|redis-addon\.js|memory-network|native\.js)/,
    );
});
