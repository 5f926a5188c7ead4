// What is published, and how it can be imported.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const require = createRequire(import.meta.url);
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const entryPoints = Object.entries(manifest.exports).filter(([, target]) => typeof target === 'object');

for (const [subpath, { types, default: file }] of entryPoints) {
  const name = join(manifest.name, subpath).replaceAll('\\', '/');

  test(`${name} has its code and its declarations`, () => {
    assert.ok(existsSync(join(root, file)), file);
    assert.ok(existsSync(join(root, types)), types);
  });

  test(`${name} can be imported and required, and both give the same objects`, async () => {
    const imported = await import(name);
    const required = require(name);
    assert.ok(Object.keys(imported).length > 0);
    assert.equal(imported.default, undefined);
    for (const key of Object.keys(imported)) assert.equal(required[key], imported[key], key);
  });
}

test('the core reaches no native code and nothing of Node', () => {
  const seen = new Set();
  const visit = (file) => {
    if (seen.has(file)) return;
    seen.add(file);
    const code = readFileSync(file, 'utf8');
    for (const [, specifier] of code.matchAll(/(?:from|import|import\(|require\()\s*['"]([^'"]+)['"]/g)) {
      assert.ok(specifier.startsWith('.'), `${relative(root, file)} imports ${specifier}`);
      visit(join(dirname(file), specifier));
    }
  };
  visit(join(root, manifest.exports['.'].default));
  assert.ok(![...seen].some((file) => /native\.js$|loader/.test(relative(root, file))), [...seen].join('\n'));
});

test('the package runs nothing when it is installed and depends on nothing', () => {
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish']) {
    assert.equal(manifest.scripts[script], undefined, script);
  }
  assert.equal(manifest.dependencies, undefined);
});

test('the packed files are what a program needs, and no more', () => {
  const files = packedFiles();
  const allowed =
    /^(package\.json|README\.md|CHANGELOG\.md|LICENSE-(MIT|APACHE)|loader\.(cjs|d\.cts)|platform\.cjs|dist\/[\w/-]+\.(js|d\.ts))$/;
  for (const file of files) assert.match(file, allowed);
  for (const file of ['package.json', 'README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'loader.cjs', 'platform.cjs']) {
    assert.ok(files.includes(file), `${file} is missing`);
  }
  const built = readdirSync(join(root, 'dist'), { recursive: true }).filter((name) => name.endsWith('.js'));
  for (const name of built) assert.ok(files.includes(`dist/${name.replaceAll('\\', '/')}`), `dist/${name} is missing`);
});

test('the lock file names no place that packages were fetched from', () => {
  assert.doesNotMatch(readFileSync(join(root, 'package-lock.json'), 'utf8'), /"resolved"/);
});

function packedFiles() {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const npm = process.env.npm_execpath;
  const output = npm?.endsWith('npm-cli.js')
    ? execFileSync(process.execPath, [npm, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] })
    : execFileSync('npm', args, {
        cwd: root,
        stdio: ['ignore', 'pipe', 'ignore'],
        shell: process.platform === 'win32',
      });
  const parsed = JSON.parse(output);
  // npm 11 gives an object by package name, older ones a list.
  const [pack] = Array.isArray(parsed) ? parsed : Object.values(parsed);
  return pack.files.map(({ path }) => path);
}
