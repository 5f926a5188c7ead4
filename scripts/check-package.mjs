// Whether the packages are what every kind of importer can use: publint reads package.json and files, arethetypeswrong resolves the types as
// TypeScript does, every export has somebody who imports it, and the contents are what a program needs. Makes and packs them in a temporary
// folder, as they are published. Usage: node scripts/check-package.mjs [--list]; --list prints every file with its size
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildTypeScript, installPackages } from './build.mjs';
import { checkExports } from './dead-exports.mjs';
import { makePackages, packAll } from './packages.mjs';
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

/** A platform package has the addon, who may use it, and nothing that runs. */
function checkPlatform({ folder }) {
  const { version } = packageJson();
  const manifest = packageJson(folder);
  const files = readdirSync(folder).sort();
  const expected = ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', manifest.main, 'package.json'].sort();
  if (files.join() !== expected.join()) throw new Failure(`${folder} has ${files.join(', ')}`);
  if (manifest.version !== version || manifest.scripts !== undefined)
    throw new Failure(`${folder}: another version, or scripts`);
}

export function checkPackage({ list = false } = {}) {
  installPackages();
  buildTypeScript();
  timed('exports that nobody imports', checkExports);
  const folder = mkdtempSync(join(tmpdir(), 'package-'));
  try {
    const packages = timed('packing', () =>
      packAll(makePackages({ folder: join(folder, 'packages') }), join(folder, 'tarballs')),
    );
    const [{ tarball }, ...platforms] = packages;
    const files = checkContents(tarball);
    for (const platform of platforms) checkPlatform(platform);
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
    for (const { name, bytes } of files) console.log(`${String(bytes).padStart(8)}  ${name}`);
    console.log(`${String(statSync(tarball).size).padStart(8)}  packed, ${files.length} files`);
  } finally {
    if (existsSync(folder)) rmSync(folder, { recursive: true });
  }
}

whenStarted(import.meta.url, (args) => checkPackage({ list: parse(args, { '--list': 'flag' }).options['--list'] }));
