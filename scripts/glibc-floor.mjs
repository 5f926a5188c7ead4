// The oldest glibc that the addons here run on, from the versions of the symbols that they import; what they link to besides. Fails when one
// needs a newer glibc than platform.cjs promises, or a library that a bare system does not have. Reads ELF files of any architecture by
// `readelf` of binutils. Usage: node scripts/glibc-floor.mjs [FILE …]
import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import platform from '../platform.cjs';
import { fromRoot, isAtLeast } from './project.mjs';
import { Failure, probe, whenStarted } from './run.mjs';

/** Libraries that every system with that C library has. */
const usual = {
  gnu: /^(libc\.so\.6|libm\.so\.6|libdl\.so\.2|libpthread\.so\.0|librt\.so\.1|libgcc_s\.so\.1|ld-linux-[\w-]+\.so\.\d)$/,
  musl: /^(libc\.so|libgcc_s\.so\.1|libunwind\.so\.1)$/,
};

/** `{ file, libc, needs, floor, newest }`: `newest` are the symbols that the floor comes from. */
export function inspect(file) {
  const dynamic = probe('readelf', ['-W', '-d', file]);
  const symbols = probe('readelf', ['-W', '--dyn-syms', file]);
  if (dynamic === null || symbols === null) throw new Failure(`readelf cannot read ${file}: install binutils`);
  const needs = [...dynamic.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name]) => name);
  const imported = [...symbols.matchAll(/ UND (\S+)@GLIBC_([\d.]+)/g)].map(([, name, version]) => ({ name, version }));
  const floor = imported.reduce((most, { version }) => (isAtLeast(most, version) ? most : version), '0');
  const libc = imported.length > 0 ? 'gnu' : 'musl';
  const newest = imported.filter(({ version }) => version === floor).map(({ name }) => name);
  return { file, libc, needs, floor, newest };
}

whenStarted(import.meta.url, (args) => {
  const files =
    args.length > 0
      ? args
      : readdirSync(fromRoot('.'))
          .filter((name) => /\.linux-.*\.node$/.test(name))
          .map((name) => fromRoot(name));
  if (files.length === 0) throw new Failure('there is no addon for Linux here: build one, or name a file', 2);
  const problems = [];
  for (const found of files.map(inspect)) {
    const { file, libc, needs, floor, newest } = found;
    const name = basename(file);
    const from =
      newest.length > 3 ? `${newest.slice(0, 3).join(', ')} and ${newest.length - 3} more` : newest.join(', ');
    console.log(`${name}: ${libc === 'gnu' ? `glibc ${floor} (${from})` : 'musl'}; links to ${needs.join(', ')}`);
    if (libc === 'gnu' && !isAtLeast(platform.neededGlibc, floor))
      problems.push(`${name} needs glibc ${floor}, promised is ${platform.neededGlibc}: build it with --target`);
    for (const library of needs.filter((one) => !usual[libc].test(one))) problems.push(`${name} needs ${library}`);
  }
  if (problems.length > 0) throw new Failure(problems.join('\n'));
});
