// Makes the packages as they are published: the main one, with all platform packages as optional dependencies in its own version, and one for
// each binary that is there. What is published is what this makes; package.json of the sources has no optional dependencies, because npm would
// look for them at every install of a clone. Usage: node scripts/packages.mjs [--binaries FOLDER] [--all] [--no-build] [--pack]
//   --binaries  where pubsub-native.<platform>.node are; default: the root
//   --all       fail when a platform has no binary: for publishing
//   --pack      make .tgz files, too
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from './build.mjs';
import { noticesFor } from './notices.mjs';
import { platforms } from './platforms.mjs';
import { fromRoot, packageJson } from './project.mjs';
import { Failure, npm, parse, say, whenStarted } from './run.mjs';

/** Parts of package.json that a user of the package has no use for. */
const ours = ['devDependencies', 'scripts', 'napi'];

const licences = ['LICENSE-APACHE', 'LICENSE-MIT'];

/** The licences of what is linked into an addon, in its package. */
const noticesFile = 'THIRD-PARTY.md';

/** Where the packages are made. Ignored by git. */
export const packagesFolder = fromRoot('npm/packages');

/**
 * @param {{ binaries?: string, all?: boolean, folder?: string, notices?: boolean }} [options] `notices`: with the licences of what is linked into the
 *   addons, for which cargo is asked; what is published has them
 * @returns {{ name: string, folder: string }[]} the packages, the main one first
 */
export function makePackages({ binaries = fromRoot('.'), all = false, folder = packagesFolder, notices = false } = {}) {
  rmSync(folder, { recursive: true, force: true });
  const manifest = manifestOf();
  const fileOf = ({ suffix }) => join(binaries, `${manifest.napi.binaryName}.${suffix}.node`);
  const missing = platforms.filter((platform) => !existsSync(fileOf(platform)));
  if (all && missing.length > 0)
    throw new Failure(`no binary for ${missing.map(({ suffix }) => suffix).join(', ')} in ${binaries}`);
  const main = { name: manifest.name, folder: join(folder, 'main') };
  makeMain(main.folder);
  const others = platforms
    .filter((platform) => !missing.includes(platform))
    .map((platform) => ({
      platform,
      made: makePlatform(join(folder, platform.suffix), platform, fileOf(platform), manifest),
    }));
  if (notices)
    for (const { platform, made } of others) writeFileSync(join(made.folder, noticesFile), noticesFor(platform.target));
  return [main, ...others.map(({ made }) => made)];
}

/** Where it is built, for the proof of provenance: publishing without it is refused. */
function repository() {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: name } = process.env;
  if (server === undefined || name === undefined) return {};
  return { repository: { type: 'git', url: `git+${server}/${name}.git` } };
}

const manifestOf = () => ({ ...packageJson(), ...repository() });

/** The main package, in `folder`. */
export function makeMain(folder) {
  const manifest = manifestOf();
  mkdirSync(folder, { recursive: true });
  const published = Object.fromEntries(Object.entries(manifest).filter(([name]) => !ours.includes(name)));
  const { name, version } = manifest;
  const optionalDependencies = Object.fromEntries(platforms.map(({ suffix }) => [`${name}-${suffix}`, version]));
  writeJson(folder, { ...published, optionalDependencies });
  for (const entry of ['README.md', ...manifest.files.filter((file) => !file.startsWith('!'))])
    cpSync(fromRoot(entry), join(folder, entry), { recursive: true });
}

/** The package of one platform: its addon, and nothing that runs at installation. */
function makePlatform(folder, { suffix, os, cpu, libc }, binary, manifest) {
  mkdirSync(folder, { recursive: true });
  const main = `${manifest.napi.binaryName}.${suffix}.node`;
  const name = `${manifest.name}-${suffix}`;
  const { version, license, repository, homepage, engines } = manifest;
  const description = `The addon of ${manifest.name} for ${suffix}`;
  writeJson(folder, {
    // npm adds README.md by itself, but of licences only a file that is called LICENSE.
    ...{
      name,
      version,
      description,
      license,
      repository,
      homepage,
      type: 'commonjs',
      main,
      files: [main, ...licences, noticesFile],
    },
    engines,
    ...{ os: [os], cpu: [cpu], ...(libc === undefined ? {} : { libc: [libc] }) },
    ...{ publishConfig: { access: 'public' } },
  });
  copyFileSync(binary, join(folder, main));
  for (const file of licences) copyFileSync(fromRoot(file), join(folder, file));
  writeFileSync(join(folder, 'README.md'), `# ${name}\n\n${description}. Install ${manifest.name}, which needs it.\n`);
  return { name, folder };
}

const writeJson = (folder, value) => writeFileSync(join(folder, 'package.json'), `${JSON.stringify(value, null, 2)}\n`);

/** The .tgz files of packages, in `folder`, by their names. */
export function packAll(packages, folder) {
  mkdirSync(folder, { recursive: true });
  return packages.map((made) => {
    const before = new Set(readdirSync(folder));
    npm(['pack', made.folder, '--silent', '--ignore-scripts', '--pack-destination', folder], { capture: true });
    const file = readdirSync(folder).find((name) => !before.has(name));
    if (file === undefined) throw new Failure(`npm pack made no file of ${made.folder}`);
    return { ...made, tarball: join(folder, file) };
  });
}

whenStarted(import.meta.url, (args) => {
  const { options } = parse(args, { '--binaries': 'value', '--all': 'flag', '--no-build': 'flag', '--pack': 'flag' });
  const binaries = options['--binaries'];
  if (!options['--no-build']) build(binaries === undefined ? { release: true } : { only: 'ts' });
  const all = options['--all'];
  const packages = makePackages({
    all,
    notices: true,
    ...(binaries === undefined ? {} : { binaries: resolve(binaries) }),
  });
  for (const { name, folder } of packages) say(`${name}: ${folder}`);
  if (!options['--pack']) return;
  for (const { tarball } of packAll(packages, join(packagesFolder, 'tarballs')))
    say(`${tarball}: ${statSync(tarball).size} bytes`);
});
