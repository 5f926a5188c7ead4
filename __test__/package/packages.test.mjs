// The packages of platforms: one table, and what repeats it.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { noticesFor } from '../../scripts/notices.mjs';
import { makePackages } from '../../scripts/packages.mjs';
import { platforms, thisPlatform } from '../../scripts/platforms.mjs';
import { fromRoot, packageJson } from '../../scripts/project.mjs';
import { probe } from '../../scripts/run.mjs';

const require = createRequire(import.meta.url);
const { suffixes } = require('../../platform.cjs');
const read = (path) => readFileSync(fromRoot(path), 'utf8');
const all = platforms.map(({ suffix }) => suffix);

test('loader, error and page know exactly the platforms of the table', () => {
  const loader = read('loader.cjs');
  const loaded = [...loader.matchAll(/require\('@alkdev\/pubsub-native-([\w-]+)'\)/g)].map(([, suffix]) => suffix);
  assert.deepEqual(loaded.sort(), [...all].sort());
  const local = [...loader.matchAll(/require\('\.\/pubsub-native\.([\w-]+)\.node'\)/g)].map(([, suffix]) => suffix);
  assert.deepEqual(local.sort(), [...all].sort());
  assert.deepEqual(Object.values(suffixes).sort(), [...all].sort());
  const page = read('npm/README.md');
  for (const { suffix, target } of platforms) assert.ok(page.includes(`native-${suffix}\` | \`${target}\``), suffix);
});

test('the error looks the platform up as the table has it', () => {
  for (const { suffix, os, cpu, libc } of platforms)
    assert.equal(suffixes[[os, cpu, libc].filter((part) => part !== undefined).join('-')], suffix);
});

test('this machine is one of them', () => {
  assert.ok(all.includes(thisPlatform()?.suffix));
});

test('cargo and npm have the same version', () => {
  const [, version] = /^version = "(.+)"$/m.exec(read('Cargo.toml'));
  assert.equal(packageJson().version, version);
});

test('every package has what chooses it, exact versions, and nothing that runs', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'packages-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const suffix of all) writeFileSync(join(folder, `pubsub-native.${suffix}.node`), suffix);
  const [main, ...others] = makePackages({ binaries: folder, all: true, folder: join(folder, 'made') });
  const { version } = packageJson();
  const manifest = packageJson(main.folder);
  assert.deepEqual(manifest.optionalDependencies, Object.fromEntries(others.map(({ name }) => [name, version])));
  for (const key of ['scripts', 'devDependencies', 'dependencies', 'napi']) assert.equal(manifest[key], undefined, key);
  assert.equal(others.length, platforms.length);
  for (const [n, { os, cpu, libc, suffix }] of platforms.entries()) {
    const { folder: made, name } = others[n];
    const own = packageJson(made);
    assert.equal(name, `@alkdev/pubsub-native-${suffix}`);
    assert.deepEqual([own.name, own.version, own.os, own.cpu], [name, version, [os], [cpu]]);
    assert.deepEqual(own.libc, libc === undefined ? undefined : [libc]);
    assert.equal(own.scripts, undefined);
    assert.equal(readFileSync(join(made, own.main), 'utf8'), suffix);
  }
});

test('a binary that is missing is a failure for publishing', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'packages-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'pubsub-native.linux-x64-gnu.node'), '');
  assert.throws(
    () => makePackages({ binaries: folder, all: true, folder: join(folder, 'made') }),
    /no binary for linux-x64-musl/,
  );
  assert.equal(makePackages({ binaries: folder, folder: join(folder, 'made') }).length, 2);
});

const noCargo = probe('cargo', ['--version']) === null ? 'cargo is not installed' : false;

test('the licences of what is linked into an addon are named, and those of macros, tests and build scripts are not', {
  skip: noCargo,
}, () => {
  const notices = noticesFor('x86_64-unknown-linux-gnu');
  for (const name of ['iroh', 'napi', 'ring', 'rustls', 'tokio'])
    assert.match(notices, new RegExp(`^- ${name} \\d`, 'm'), name);
  for (const name of ['napi-derive', 'serde_derive', 'cc', 'napi-build', 'proptest', 'windows-sys'])
    assert.doesNotMatch(notices, new RegExp(`^- ${name} \\d`, 'm'), name);
  assert.match(notices, /Permission is hereby granted, free of charge/);
});
