// Packages of Debian for any architecture and release, unpacked into target/tools, from the mirror that apt has here. Installs nothing and needs
// no rights: apt keeps lists of its own beside them. Source of C libraries and emulators that tests need.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromRoot } from './project.mjs';
import { Failure, probe, run, timed } from './run.mjs';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Why nothing can be had from Debian here, or undefined. */
export function whyNoDebian() {
  if (probe('dpkg-deb', ['--version']) === null) return 'this is no Debian';
  if (!existsSync(keyring)) return 'the package debian-archive-keyring is missing';
  return mirror() === undefined ? 'apt has no mirror of Debian here: run "apt-get update"' : undefined;
}

/** Where apt gets Debian's packages. */
function mirror() {
  const format = ['--format', '$(REPO_URI)', 'Created-By: Packages', 'Origin: Debian', 'Component: main'];
  const found = probe('apt-get', ['indextargets', ...format])?.split('\n') ?? [];
  return found.find((uri) => /\/debian\/?$/.test(uri));
}

/**
 * The folder with the files of packages, as they would lie in the root of a system.
 * @param {{ suite: string, arch: string, packages: readonly string[] }} wanted
 */
export function unpackDebian({ suite, arch, packages }) {
  const folder = fromRoot('target/tools', `${suite}-${arch}-${packages.join('+')}`);
  if (existsSync(folder)) return folder;
  const why = whyNoDebian();
  if (why !== undefined) throw new Failure(why);
  return timed(`fetching ${packages.join(', ')} of Debian ${suite} for ${arch}`, () => {
    const half = `${folder}.half`;
    rmSync(half, { recursive: true, force: true });
    const apt = aptOf(suite, arch, join(half, 'apt'));
    const downloads = join(half, 'downloads');
    mkdirSync(downloads);
    run('apt-get', ['update', '--quiet=2'], { env: apt, quiet: true });
    run('apt-get', ['download', '--quiet=2', ...packages], { env: apt, quiet: true, cwd: downloads });
    for (const file of readdirSync(downloads)) run('dpkg-deb', ['-x', join(downloads, file), join(half, 'root')]);
    renameSync(join(half, 'root'), folder);
    rmSync(half, { recursive: true });
    return folder;
  });
}

/** The environment in which apt has one release for one architecture, and state of its own. */
function aptOf(suite, arch, folder) {
  for (const part of ['state/lists/partial', 'cache/archives/partial'])
    mkdirSync(join(folder, part), { recursive: true });
  const sources = join(folder, 'sources.list');
  writeFileSync(sources, `deb [arch=${arch} signed-by=${keyring}] ${mirror()} ${suite} main\n`);
  const settings = {
    'APT::Architecture': arch,
    'APT::Architectures': arch,
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Etc::SourceList': sources,
    'Dir::Etc::SourceParts': '-',
    'Dir::State': join(folder, 'state'),
    'Dir::State::status': '/dev/null',
  };
  const config = join(folder, 'apt.conf');
  writeFileSync(
    config,
    Object.entries(settings)
      .map(([name, value]) => `${name} "${value}";\n`)
      .join(''),
  );
  return { APT_CONFIG: config };
}
