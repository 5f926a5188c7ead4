// What a user reads when the addon cannot be loaded. Runs a copy of the loader, so that no local build is found.
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

const files = ['loader.cjs', 'platform.cjs', 'package.json'];
const require = createRequire(import.meta.url);
const platform = `${process.platform}-${process.arch}`;
let folder;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'loader-'));
  for (const name of files) copyFileSync(new URL(`../../${name}`, import.meta.url), join(folder, name));
});

afterEach(() => rmSync(folder, { recursive: true }));

const load = () => require(join(folder, 'loader.cjs'));

test('a missing addon is an error with a code, the platform, the package that should be there and the remedy', () => {
  const { version } = require('../../package.json');
  assert.throws(load, (error) => {
    assert.equal(error.code, 'ERR_NATIVE_UNAVAILABLE');
    assert.ok(error.message.includes(platform), error.message);
    assert.match(error.message, /optional dependency/);
    assert.ok(error.message.includes(`npm install @alkdev/pubsub-native-${platform}`), error.message);
    assert.ok(error.message.includes(`@${version}`), error.message);
    assert.match(error.message, /npm run build/);
    return true;
  });
});

test('the cause holds an error for each place that was tried', () => {
  assert.throws(load, ({ cause }) => {
    assert.ok(cause instanceof AggregateError);
    const texts = cause.errors.map((error) => error.message).join('\n');
    assert.ok(texts.includes(`./pubsub-native.${platform}`), texts);
    assert.ok(texts.includes(`@alkdev/pubsub-native-${platform}`), texts);
    return true;
  });
});

test('on Linux the error names the C library found and needed', {
  skip: process.platform !== 'linux' && 'not Linux',
}, () => {
  assert.throws(load, /\((glibc \d+\.\d+; 2\.28 or newer is needed|musl; any version is needed)\)/);
});

/** The loader on a machine that says this of itself. */
function loadOn({ platform: name, arch, report }) {
  const original = ['platform', 'arch', 'report'].map((key) => [key, Object.getOwnPropertyDescriptor(process, key)]);
  const values = { platform: name, arch, report: { getReport: () => report } };
  for (const [key, value] of Object.entries(values)) Object.defineProperty(process, key, { value, configurable: true });
  try {
    return load();
  } finally {
    for (const [key, descriptor] of original) Object.defineProperty(process, key, descriptor);
  }
}

test('an old glibc, musl and an unknown platform are named for what they are', () => {
  const glibc = (version) => ({ header: { glibcVersionRuntime: version }, sharedObjects: [] });
  const musl = { header: {}, sharedObjects: ['/lib/ld-musl-aarch64.so.1'] };
  const on = (name, arch, report) => () => loadOn({ platform: name, arch, report });
  assert.throws(on('linux', 'x64', glibc('2.17')), /glibc 2\.17; 2\.28 or newer[\s\S]*This glibc is too old/);
  assert.throws(on('linux', 'arm64', glibc('2.28')), ({ message }) => !message.includes('too old'));
  assert.throws(
    on('linux', 'arm64', musl),
    /linux-arm64 \(musl[\s\S]*npm install @alkdev\/pubsub-native-linux-arm64-musl@/,
  );
  assert.throws(on('darwin', 'arm64', glibc()), /npm install @alkdev\/pubsub-native-darwin-arm64@/);
  assert.throws(on('sunos', 'x64', glibc()), /no package for this platform[\s\S]*pubsub-native-win32-x64-msvc/);
});

test('an addon that is there and cannot be loaded is told apart from a missing one', () => {
  const suffix = { linux: '-gnu', win32: '-msvc' }[process.platform] ?? '';
  writeFileSync(join(folder, `pubsub-native.${platform}${suffix}.node`), 'no library');
  assert.throws(load, (error) => {
    assert.match(error.message, /Loading it failed: /);
    assert.doesNotMatch(error.message, /optional dependency/);
    return true;
  });
});
