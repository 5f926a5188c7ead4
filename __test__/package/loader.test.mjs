// What a user reads when the addon cannot be loaded. Runs a copy of the loader, so that no local build is found.
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

const loader = new URL('../../loader.cjs', import.meta.url);
const require = createRequire(import.meta.url);
const platform = `${process.platform}-${process.arch}`;
let folder;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'loader-'));
  copyFileSync(loader, join(folder, 'loader.cjs'));
});

afterEach(() => rmSync(folder, { recursive: true }));

const load = () => require(join(folder, 'loader.cjs'));

test('a missing addon is an error with a code, the platform and the remedy', () => {
  assert.throws(load, (error) => {
    assert.equal(error.code, 'ERR_NATIVE_UNAVAILABLE');
    assert.ok(error.message.includes(platform), error.message);
    assert.match(error.message, /optional dependency/);
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

test('on Linux the error names the C library', { skip: process.platform !== 'linux' && 'not Linux' }, () => {
  assert.throws(load, /\((glibc \d|no glibc)/);
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
