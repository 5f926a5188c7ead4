// Which platform this is, for people: the C library that runs here and the one that is needed, and the package that has the addon. Used where
// the addon cannot be loaded, and by the doctor. Does not look for the addon.
'use strict';

/** The oldest glibc that the packages of Linux run on: that of the systems that the oldest supported Node.js itself needs. */
const neededGlibc = '2.28';

/** The packages that are made, by platform and architecture; on Linux by the C library besides. */
const suffixes = {
  'darwin-arm64': 'darwin-arm64',
  'darwin-x64': 'darwin-x64',
  'linux-arm64-glibc': 'linux-arm64-gnu',
  'linux-arm64-musl': 'linux-arm64-musl',
  'linux-x64-glibc': 'linux-x64-gnu',
  'linux-x64-musl': 'linux-x64-musl',
  'win32-arm64': 'win32-arm64-msvc',
  'win32-x64': 'win32-x64-msvc',
};

/**
 * The C library of Linux; undefined elsewhere. Its version is undefined where the runtime does not tell it.
 * @returns {{ name: 'glibc' | 'musl', version: string | undefined } | undefined}
 */
function libc() {
  if (process.platform !== 'linux') return undefined;
  try {
    const { header, sharedObjects } = process.report.getReport();
    // Deno says the same version on every machine.
    const version = process.versions.deno === undefined ? header.glibcVersionRuntime : undefined;
    if (header.glibcVersionRuntime !== undefined) return { name: 'glibc', version };
    const isMusl = sharedObjects.some((name) => name.includes('musl'));
    return { name: isMusl ? 'musl' : 'glibc', version: undefined };
  } catch {
    return { name: 'glibc', version: undefined };
  }
}

/** The name of the package that has the addon of this platform, or undefined where there is none. */
function packageName() {
  const parts = [process.platform, process.arch, libc()?.name].filter((part) => part !== undefined);
  const suffix = suffixes[parts.join('-')];
  return suffix === undefined ? undefined : `@alkdev/pubsub-native-${suffix}`;
}

/** True when the glibc that runs here is known and older than the packages need. */
function isGlibcTooOld() {
  const found = libc();
  if (found?.name !== 'glibc' || found.version === undefined) return false;
  const [[a, b], [c, d]] = [found.version, neededGlibc].map((version) => version.split('.').map(Number));
  return a < c || (a === c && b < d);
}

module.exports = { isGlibcTooOld, libc, neededGlibc, packageName, suffixes };
