// Builds what is missing or stale: npm packages, the addon, dist/. Quick when nothing changed: cargo knows what is stale, and
// tsc takes less than a second. Usage: node scripts/build.mjs [--release] [--only addon|ts]
//
// The addon is built by cargo and copied, because `napi build` passes --target: its output would stand beside that of plain cargo,
// and every dependency would be compiled twice.
import { copyFileSync, existsSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { commandOf, fromRoot, lockedInCI, packageJson } from './project.mjs';
import { requireAll } from './requirements.mjs';
import { Failure, npm, parse, probe, run, timed, whenStarted } from './run.mjs';

/** Rust target → the name in `pubsub-native.<name>.node`, the same as in loader.cjs. */
const platformNames = {
  'x86_64-unknown-linux-gnu': 'linux-x64-gnu',
  'x86_64-unknown-linux-musl': 'linux-x64-musl',
  'aarch64-unknown-linux-gnu': 'linux-arm64-gnu',
  'aarch64-unknown-linux-musl': 'linux-arm64-musl',
  'x86_64-apple-darwin': 'darwin-x64',
  'aarch64-apple-darwin': 'darwin-arm64',
  'x86_64-pc-windows-msvc': 'win32-x64-msvc',
  'aarch64-pc-windows-msvc': 'win32-arm64-msvc',
};

/** Time of a first build on two cores, debug measured on a busy machine; only said, nothing depends on it. */
const firstBuild = { debug: 'about 4 minutes', release: 'several minutes' };

/** @param {{ release?: boolean, only?: 'addon' | 'ts' }} [options] */
export function build({ release = false, only } = {}) {
  requireAll();
  installPackages();
  if (only !== 'ts') buildAddon({ release });
  if (only !== 'addon') buildTypeScript();
}

/** `npm ci`, when the installed packages are older than the lock file. */
export function installPackages() {
  const installed = fromRoot('node_modules/.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(fromRoot('package-lock.json')).mtimeMs) return;
  timed('installing npm packages (about 10 seconds)', () => npm(['ci', '--no-audit', '--no-fund'], { quiet: true }));
}

/** @param {{ release?: boolean, features?: string[], folder?: string }} options */
export function buildAddon({ release = false, features = [], folder = fromRoot('.') }) {
  const profile = release ? 'release' : 'debug';
  const target = join(folder, `${packageJson().napi.binaryName}.${platformName()}.node`);
  const first = existsSync(fromRoot('target', profile)) ? '' : ` (the first time takes ${firstBuild[profile]})`;
  timed(`building the addon, ${profile}${first}`, () => {
    const args = [
      'build',
      ...(release ? ['--release'] : []),
      ...features.flatMap((feature) => ['--features', feature]),
      ...lockedInCI(),
      '--message-format=json-render-diagnostics',
    ];
    const messages = run('cargo', args, { capture: true });
    replaceFile(libraryIn(messages), target);
  });
}

/** The relay of Iroh that tests and examples start (engine/examples/iroh_relay.rs): always the debug one, it carries little. */
export function buildRelay() {
  timed('building a relay of Iroh for tests (the first time takes about 3 minutes)', () =>
    run(
      'cargo',
      ['build', '--package', 'alkpubsub-engine', '--features', 'iroh', '--example', 'iroh_relay', ...lockedInCI()],
      { quiet: true },
    ),
  );
}

/** The dynamic library that cargo says it made. */
function libraryIn(messages) {
  const artifacts = messages
    .split('\n')
    .filter((line) => line.startsWith('{"reason":"compiler-artifact"'))
    .map((line) => JSON.parse(line))
    .filter((artifact) => artifact.target.kind.includes('cdylib') && artifact.manifest_path === fromRoot('Cargo.toml'));
  const library = artifacts.at(-1)?.filenames.find((name) => /\.(so|dylib|dll)$/.test(name));
  if (library === undefined) throw new Failure('cargo built no cdylib: see [lib] in Cargo.toml');
  return library;
}

/** Replaces by renaming: a process that has the old file loaded keeps it. */
function replaceFile(from, to) {
  const source = statSync(from);
  const old = existsSync(to) ? statSync(to) : undefined;
  if (old?.size === source.size && Math.abs(old.mtimeMs - source.mtimeMs) < 1) return;
  const temporary = `${to}.${process.pid}.node`;
  copyFileSync(from, temporary);
  utimesSync(temporary, source.atime, source.mtime);
  renameSync(temporary, to);
}

function platformName() {
  const host = /^host: (.+)$/m.exec(probe('rustc', ['-vV']) ?? '')?.[1];
  const name = platformNames[host];
  if (name === undefined)
    throw new Failure(`the addon is not built for ${host}; known: ${Object.keys(platformNames).join(', ')}`);
  return name;
}

export function buildTypeScript() {
  timed('building dist/ from ts/', () => {
    run(process.execPath, [commandOf.tsc, '-p', 'tsconfig.json'], { quiet: true });
    removeLeftovers(fromRoot('dist'), fromRoot('ts'));
  });
}

/** Removes files of dist/ whose source is gone: they would be published. */
function removeLeftovers(output, source) {
  for (const entry of readdirSync(output, { withFileTypes: true })) {
    const path = join(output, entry.name);
    const stem = entry.name.replace(/\.d\.ts$|\.js$/, '');
    if (entry.isDirectory() && existsSync(join(source, entry.name))) removeLeftovers(path, join(source, entry.name));
    else if (entry.isDirectory() || !existsSync(join(source, `${stem}.ts`))) rmSync(path, { recursive: true });
  }
}

whenStarted(import.meta.url, (args) => {
  const { options, rest } = parse(args, { '--release': 'flag', '--only': 'value' });
  const only = options['--only'];
  if (rest.length > 0 || ![undefined, 'addon', 'ts'].includes(only))
    throw new Failure('usage: npm run build -- [--release] [--only addon|ts]', 2);
  build({ release: options['--release'], only });
});
