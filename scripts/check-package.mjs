// Whether the packages are what every kind of importer can use: publint reads package.json and files, arethetypeswrong resolves the types as
// TypeScript does, every export has somebody who imports it, and the contents are what a program needs. Makes and packs them in a temporary
// folder, as they are published. Usage: node scripts/check-package.mjs [--list] [--binaries FOLDER]
//   --list      print every file with its size
//   --binaries  the addons that are to be published, which have no symbols; default: what is in the root
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { isStripped, madeFor } from './addon-file.mjs';
import { buildTypeScript, installPackages } from './build.mjs';
import { checkExports } from './dead-exports.mjs';
import { makePackages, packAll } from './packages.mjs';
import { platforms } from './platforms.mjs';
import { commandOf, packageJson } from './project.mjs';
import { Failure, parse, run, timed, whenStarted } from './run.mjs';

/**
 * ES modules only, by design: Node from 20.19 on lets CommonJS require them, which this rule does not know. The old resolution of Node 10
 * knows no exports at all.
 */
const types = ['--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm'];

/** What may be in the main package: declarations only of what users can reach. */
const contents =
  /^(package\.json|README\.md|CHANGELOG\.md|LICENSE-(MIT|APACHE)|loader\.(cjs|d\.cts)|platform\.cjs|dist\/cli\/[\w-]+\.js|dist\/(?!cli\/)[\w/-]+\.(js|d\.ts))$/;

/** Bytes that the main package may have unpacked, without its README. A guess: a third more than it has. */
const MAX_BYTES = 750_000;

/** The files of a package, with their sizes. */
function filesOf(tarball) {
  const { stdout, status } = spawnSync('tar', ['-tvzf', tarball], { encoding: 'utf8' });
  if (status !== 0) throw new Failure(`tar cannot list ${tarball}`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({
      name: line.split(/\s+package\//)[1],
      bytes: Number(/\s(\d+)\s/.exec(line.replace(/^\S+\s+\S+/, ''))?.[1]),
    }));
}

function checkContents(tarball) {
  const files = filesOf(tarball);
  const strangers = files.filter(({ name }) => !contents.test(name) || name.includes('.test.'));
  if (strangers.length > 0)
    throw new Failure(`in the package and not needed: ${strangers.map(({ name }) => name).join(', ')}`);
  const bytes = files.reduce((sum, file) => sum + (file.name === 'README.md' ? 0 : file.bytes), 0);
  if (!(bytes <= MAX_BYTES)) throw new Failure(`the package has ${bytes} bytes, at most ${MAX_BYTES} are expected`);
  return files;
}

/** A platform package has the addon of that platform, who may use it, and nothing that runs. */
function checkPlatform({ name, folder, tarball }, isRelease) {
  const { version } = packageJson();
  const manifest = packageJson(folder);
  const files = filesOf(tarball);
  const names = files.map((file) => file.name).sort();
  const expected = [
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'README.md',
    'THIRD-PARTY.md',
    manifest.main,
    'package.json',
  ].sort();
  if (names.join() !== expected.join()) throw new Failure(`${name} has ${names.join(', ')}`);
  if (manifest.version !== version || manifest.scripts !== undefined)
    throw new Failure(`${name}: another version, or scripts`);
  const { os, cpu } = platforms.find(({ suffix }) => name.endsWith(suffix));
  const addon = join(folder, manifest.main);
  const found = madeFor(addon);
  if (found?.os !== os || found.cpu !== cpu)
    throw new Failure(
      `${name} has an addon for ${found === undefined ? 'no known platform' : `${found.os} ${found.cpu}`}`,
    );
  if (isRelease && isStripped(addon) === false) throw new Failure(`the addon of ${name} has its symbols`);
  return files;
}

/** @param {{ list?: boolean, binaries?: string }} [options] */
export function checkPackage({ list = false, binaries } = {}) {
  installPackages();
  buildTypeScript();
  timed('exports that nobody imports', checkExports);
  const folder = mkdtempSync(join(tmpdir(), 'package-'));
  try {
    const packages = timed('packing', () =>
      packAll(makePackages({ binaries, notices: true, folder: join(folder, 'packages') }), join(folder, 'tarballs')),
    );
    const [{ tarball }, ...others] = packages;
    const contentsOf = new Map([[tarball, checkContents(tarball)]]);
    for (const other of others) contentsOf.set(other.tarball, checkPlatform(other, binaries !== undefined));
    timed('publint', () => {
      for (const { tarball: packed } of packages)
        run(process.execPath, [commandOf.publint, 'run', packed, '--strict'], { quiet: true });
    });
    timed('arethetypeswrong', () =>
      run(process.execPath, [commandOf.attw, tarball, '--no-emoji', '--no-color', ...types], {
        quiet: true,
      }),
    );
    if (!list) return;
    for (const { name, tarball: packed } of packages) {
      const files = contentsOf.get(packed);
      console.log(`${name}:`);
      for (const file of files) console.log(`${String(file.bytes).padStart(10)}  ${file.name}`);
      console.log(`${String(statSync(packed).size).padStart(10)}  packed, ${files.length} files`);
    }
  } finally {
    if (existsSync(folder)) rmSync(folder, { recursive: true });
  }
}

whenStarted(import.meta.url, (args) => {
  const { options } = parse(args, { '--list': 'flag', '--binaries': 'value' });
  const binaries = options['--binaries'];
  checkPackage({ list: options['--list'], ...(binaries === undefined ? {} : { binaries: resolve(binaries) }) });
});
