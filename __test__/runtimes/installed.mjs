// The package in a folder of its own, as a user has it.
import assert from 'node:assert/strict';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from './runtimes.mjs';

/** A folder with the package and these packages of ours installed, and these files (URLs); `remove` removes it. */
export function install(files, packages = []) {
  const folder = mkdtempSync(join(tmpdir(), 'runtimes-'));
  const target = join(folder, 'node_modules/@alkdev/pubsub-native');
  mkdirSync(target, { recursive: true });
  cpSync(join(root, 'dist'), join(target, 'dist'), { recursive: true });
  const binaries = readdirSync(root).filter((name) => name.endsWith('.node'));
  assert.ok(binaries.length > 0, 'the addon is not built: run "npm run build"');
  for (const name of ['package.json', 'loader.cjs', 'platform.cjs', ...binaries])
    copyFileSync(join(root, name), join(target, name));
  for (const name of packages) {
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), link, 'junction');
  }
  for (const file of files) copyFileSync(file, join(folder, file.pathname.split('/').at(-1)));
  const dependencies = Object.fromEntries(['@alkdev/pubsub-native', ...packages].map((name) => [name, '*']));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module', dependencies }));
  return { folder, remove: () => rmSync(folder, { recursive: true, maxRetries: 5 }) };
}
