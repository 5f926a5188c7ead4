// Builds what is missing or stale: npm packages, the addon, dist/. Quick when nothing changed: cargo knows what is stale, and
// tsc takes less than a second. Usage: node scripts/build.mjs [--release] [--only addon|ts] [--target RUST-TARGET]
// With --target another platform's addon: for Linux with zig as the linker ("pip install ziglang cargo-zigbuild"), against glibc 2.28.
//
// The addon is built by cargo and copied, because `napi build` passes --target: its output would stand beside that of plain cargo,
// and every dependency would be compiled twice.
import { copyFileSync, existsSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import platform from '../platform.cjs';
import { isLeftToLinking, isStripped } from './addon-file.mjs';
import { platformOf, platforms } from './platforms.mjs';
import { commandOf, fromRoot, lockedInCI, packageJson } from './project.mjs';
import { requireAll } from './requirements.mjs';
import { Failure, npm, parse, probe, run, timed, whenStarted } from './run.mjs';

/** Time of a first build on two cores, debug measured on a busy machine; only said, nothing depends on it. */
const firstBuild = { debug: 'about 4 minutes', release: 'several minutes' };

/** @param {{ release?: boolean, only?: 'addon' | 'ts', target?: string }} [options] */
export function build({ release = false, only, target } = {}) {
  requireAll();
  installPackages();
  if (only !== 'ts') buildAddon({ release, target });
  if (only !== 'addon') buildTypeScript();
}

/** `npm ci`, when the installed packages are older than the lock file. */
export function installPackages() {
  const installed = fromRoot('node_modules/.package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(fromRoot('package-lock.json')).mtimeMs) return;
  timed('installing npm packages (about 10 seconds)', () => npm(['ci', '--no-audit', '--no-fund'], { quiet: true }));
}

/**
 * @param {{ release?: boolean, features?: string[], defaults?: boolean, folder?: string, target?: string, optLevel?: string }} options
 *   `optLevel`: another than that of Cargo.toml, to compare
 */
export function buildAddon({
  release = false,
  features = [],
  defaults = true,
  folder = fromRoot('.'),
  target,
  optLevel,
}) {
  const profile = release ? 'release' : 'debug';
  const file = join(folder, `${packageJson().napi.binaryName}.${suffixOf(target)}.node`);
  const first = existsSync(fromRoot('target', target ?? '.', profile))
    ? ''
    : ` (the first time takes ${firstBuild[profile]})`;
  timed(`building the addon${target === undefined ? '' : ` for ${target}`}, ${profile}${first}`, () => {
    const { command, env } = target === undefined ? { command: ['build'], env: {} } : crossBuild(target);
    const args = [
      ...command,
      ...(release ? ['--release'] : []),
      ...(optLevel === undefined ? [] : ['--config', `profile.release.opt-level=${optLevel}`]),
      ...(defaults ? [] : ['--no-default-features']),
      ...features.flatMap((feature) => ['--features', feature]),
      ...lockedInCI(),
      '--message-format=json-render-diagnostics',
    ];
    const artifacts = artifactsIn(run('cargo', args, { capture: true, env }));
    const library = libraryIn(artifacts);
    if (release) checkRelease(artifacts, library);
    replaceFile(library, file);
  });
  return file;
}

/** How cargo builds for another platform, or for this one with an older C library. */
function crossBuild(target) {
  const { os, libc } = platformOf(target) ?? {};
  if (os === undefined) throw unknownTarget(target);
  if (os !== 'linux' || process.platform !== 'linux') return { command: ['build', '--target', target], env: {} };
  if (probe('cargo', ['zigbuild', '--help']) === null)
    throw new Failure('cargo-zigbuild is missing: run "pip install ziglang cargo-zigbuild"');
  if (libc === 'glibc') return { command: ['zigbuild', '--target', `${target}.${platform.neededGlibc}`], env: {} };
  // A library that Node.js loads shares its C library; Rust's default for musl is to link a copy in.
  const variable = `CARGO_TARGET_${target.toUpperCase().replaceAll('-', '_')}_RUSTFLAGS`;
  return { command: ['zigbuild', '--target', target], env: { [variable]: '-C target-feature=-crt-static' } };
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

/** What cargo says it made, or found made. */
const artifactsIn = (messages) =>
  messages
    .split('\n')
    .filter((line) => line.startsWith('{"reason":"compiler-artifact"'))
    .map((line) => JSON.parse(line));

/** The file of the addon among them. */
function libraryIn(artifacts) {
  const own = artifacts.filter(
    (artifact) => artifact.target.kind.includes('cdylib') && artifact.manifest_path === fromRoot('Cargo.toml'),
  );
  const library = own.at(-1)?.filenames.find((name) => /\.(so|dylib|dll)$/.test(name));
  if (library === undefined) throw new Failure('cargo built no cdylib: see [lib] in Cargo.toml');
  return library;
}

/** What is published has no symbols to spare, and link-time optimization was on: neither shows in the file's behaviour when it is lost. */
function checkRelease(artifacts, library) {
  const engine = artifacts.find((artifact) => artifact.manifest_path === fromRoot('engine/Cargo.toml'));
  const rlib = engine?.filenames.find((name) => name.endsWith('.rlib'));
  if (rlib === undefined || !isLeftToLinking(rlib))
    throw new Failure(
      `${rlib ?? 'the engine'} has machine code: link-time optimization is off. See [lib] and [profile.release] in Cargo.toml`,
    );
  if (isStripped(library) === false)
    throw new Failure(`${library} has its symbols: see [profile.release] in Cargo.toml`);
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

const unknownTarget = (target) =>
  new Failure(`the addon is not built for ${target}; known: ${platforms.map((known) => known.target).join(', ')}`);

/** How a target is called in the names of files; without one: this machine's. */
function suffixOf(target) {
  const wanted = target ?? /^host: (.+)$/m.exec(probe('rustc', ['-vV']) ?? '')?.[1];
  const known = platformOf(wanted);
  if (known === undefined) throw unknownTarget(wanted);
  return known.suffix;
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
  const { options, rest } = parse(args, { '--release': 'flag', '--only': 'value', '--target': 'value' });
  const only = options['--only'];
  if (rest.length > 0 || ![undefined, 'addon', 'ts'].includes(only))
    throw new Failure('usage: npm run build -- [--release] [--only addon|ts] [--target TARGET]', 2);
  build({ release: options['--release'], only, target: options['--target'] });
});
