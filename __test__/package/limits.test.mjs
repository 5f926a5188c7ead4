// docs/limits.md against the source: each row names a file and a constant or field in it, and has its value.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path) => readFileSync(join(root, path), 'utf8');

/** The rows whose last cell is a file and a name: `{ limit, value, path, name }`. */
const rows = read('docs/limits.md')
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .map((cells) => ({ limit: cells[1], value: cells[2], source: /^`([\w/.-]+)` `(\w+)`$/.exec(cells.at(-2) ?? '') }))
  .filter(({ source }) => source !== null)
  .map(({ limit, value, source: [, path, name] }) => ({ limit, value, path, name }));

for (const { limit, value, path, name } of rows) {
  test(`${limit} is what ${path} says of ${name}`, () => {
    if (value === 'none') return assert.match(readModule(path), new RegExp(`\\b${name}: None\\b`));
    assert.match(value, /^\d+$/, 'a default is written in plain digits');
    assert.equal(Number(value), valueIn(path, name));
  });
}

test('the table has every bound of engine/src/model/limits.rs', () => {
  const source = read('engine/src/model/limits.rs');
  const constants = [...source.matchAll(/pub const (\w+):/g)].map(([, name]) => name);
  const fields = [
    ...source.slice(source.indexOf('impl Default for Limits')).matchAll(/\b([a-z_]+): (?:\d|Duration|None)/g),
  ];
  const names = [...constants, ...fields.map(([, name]) => name)];
  assert.ok(names.length >= 17, `found ${names.join(', ')}`);
  const listed = rows.filter(({ path }) => path === 'engine/src/model/limits.rs').map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => !listed.includes(name)),
    [],
  );
});

test('defaults in the comments of ts/ are those of the table', () => {
  const documented = new Map(rows.map(({ limit, value }) => [/^`(?:\w+\.)?(\w+)`/.exec(limit)?.[1], Number(value)]));
  let compared = 0;
  const files = ['limits', 'hub-options', 'spoke-options', 'websocket-object', 'subscription'];
  const threads = ['event-target-process', 'event-target-worker'];
  for (const file of [...files, ...threads, 'operators/group-by', 'operators/select']) {
    const comments = read(`ts/${file}.ts`).matchAll(/Default (\d+(?: \d{3})*)( MiB)?[^*]*\*\/\s+readonly (\w+)\?/g);
    for (const [, digits, mebi, option] of comments) {
      if (!documented.has(option)) continue;
      const value = Number(digits.replaceAll(' ', '')) * (mebi === undefined ? 1 : 2 ** 20);
      assert.equal(value, documented.get(option), `${option} in ts/${file}.ts`);
      compared++;
    }
  }
  assert.ok(compared >= 15, `only ${compared} comments were found`);
});

/** The value of a constant, a struct field or a JavaScript default; durations in milliseconds. */
function valueIn(path, name) {
  const text = readModule(path);
  const found =
    new RegExp(`const ${name}(?::[^=;]+)? = ([^;]+);`).exec(text) ??
    new RegExp(`\\b${name}: (Duration::from_\\w+\\([^)]*\\)|\\d[\\d_]*(?: << \\d+)?)`).exec(text) ??
    new RegExp(`\\b${name}\\)? \\?\\? (\\d[\\d_]*)`).exec(text) ??
    new RegExp(`'${name}', options\\.${name}\\) \\?\\? (\\d[\\d_]*)`).exec(text);
  assert.notEqual(found, null, `${path} has no ${name}`);
  return evaluate(found[1], path);
}

/** A Rust module: its file, and the files of its folder. */
function readModule(path) {
  const folder = path.replace(/\.rs$/, '');
  const parts = folder !== path && existsSync(join(root, folder)) ? readdirSync(join(root, folder)) : [];
  const files = parts.filter((name) => name.endsWith('.rs')).map((name) => `${folder}/${name}`);
  return [path, ...files].map(read).join('\n');
}

/** The few expressions that the source uses: numbers, shifts, differences, durations and names of the same file. */
function evaluate(expression, path) {
  const text = expression.trim().replace(/^\((.*)\)$/, '$1');
  const duration = /^Duration::from_(secs|millis)\((.+)\)$/.exec(text);
  if (duration !== null) return evaluate(duration[2], path) * (duration[1] === 'secs' ? 1000 : 1);
  if (/^\d[\d_]*$/.test(text)) return Number(text.replaceAll('_', ''));
  const binary = /^(.+) (<<|-) (\S+)$/.exec(text);
  if (binary !== null) {
    const [left, right] = [evaluate(binary[1], path), evaluate(binary[3], path)];
    return binary[2] === '-' ? left - right : left * 2 ** right;
  }
  assert.match(text, /^\w+$/, `cannot read "${text}" in ${path}`);
  return valueIn(path, text);
}
