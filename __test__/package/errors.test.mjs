// docs/errors.md against the codes that the addon, TypeScript and the loader have.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { errorCodes } from '../../dist/errors.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const binding = createRequire(import.meta.url)('../../loader.cjs');
const read = (path) => readFileSync(join(root, path), 'utf8');

/** `{ code, cells }` of each row that begins with a code. */
const rows = read('docs/errors.md')
  .split('\n')
  .map((line) => /^\| `(ERR_[A-Z_]+)` \| (.+) \|$/.exec(line))
  .filter((match) => match !== null)
  .map(([, code, rest]) => ({ code, cells: rest.split(' | ') }));
const documented = rows.map(({ code }) => code);
const codesIn = (text) => [...text.matchAll(/['"`](ERR_[A-Z]+(?:_[A-Z]+)*)['"`]/g)].map(([, code]) => code);

test('the table has exactly the codes of the addon, of TypeScript and of the loader', () => {
  const codes = new Set([...binding.errorCodes(), ...Object.keys(errorCodes), ...codesOfLoader()]);
  assert.deepEqual(documented, [...codes].sort());
});

test('no code stands in the table twice, and each has its meaning, its place and its remedy', () => {
  assert.equal(new Set(documented).size, documented.length);
  for (const { code, cells } of rows) {
    assert.equal(cells.length, 3, code);
    for (const cell of cells) assert.notEqual(cell.trim(), '', code);
  }
});

test('every code that stands in the source is in the table', () => {
  const sources = readdirSync(join(root, 'ts'), { recursive: true }).filter((name) => name.endsWith('.ts'));
  for (const name of sources) {
    for (const code of codesIn(read(`ts/${name}`))) assert.ok(documented.includes(code), `${code} of ts/${name}`);
  }
  for (const code of codesIn(read('src/error.rs'))) assert.ok(documented.includes(code), `${code} of src/error.rs`);
});

test('other pages speak only of codes that are in the table', () => {
  for (const page of [
    'README.md',
    'docs/protocol.md',
    'docs/limits.md',
    'docs/architecture.md',
    'docs/operators.md',
    'docs/schemas.md',
    'CHANGELOG.md',
  ]) {
    for (const code of codesIn(read(page))) assert.ok(documented.includes(code), `${code} of ${page}`);
  }
});

/** Its own, not those of Node.js that it looks at. */
function codesOfLoader() {
  const own = codesIn(read('loader.cjs')).filter((code) => code !== 'ERR_MODULE_NOT_FOUND');
  assert.ok(own.length > 0, 'the loader has no code any more');
  return own;
}
