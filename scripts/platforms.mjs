// The platforms that the addon is built for: what each is called by Rust, by npm and in file names. The one table; loader.cjs and platform.cjs
// repeat its names, and __test__/package/packages.test.mjs compares.

/** @type {readonly { suffix: string, target: string, os: string, cpu: string, libc?: 'glibc' | 'musl' }[]} */
export const platforms = [
  { suffix: 'linux-x64-gnu', target: 'x86_64-unknown-linux-gnu', os: 'linux', cpu: 'x64', libc: 'glibc' },
  { suffix: 'linux-x64-musl', target: 'x86_64-unknown-linux-musl', os: 'linux', cpu: 'x64', libc: 'musl' },
  { suffix: 'linux-arm64-gnu', target: 'aarch64-unknown-linux-gnu', os: 'linux', cpu: 'arm64', libc: 'glibc' },
  { suffix: 'linux-arm64-musl', target: 'aarch64-unknown-linux-musl', os: 'linux', cpu: 'arm64', libc: 'musl' },
  { suffix: 'darwin-x64', target: 'x86_64-apple-darwin', os: 'darwin', cpu: 'x64' },
  { suffix: 'darwin-arm64', target: 'aarch64-apple-darwin', os: 'darwin', cpu: 'arm64' },
  { suffix: 'win32-x64-msvc', target: 'x86_64-pc-windows-msvc', os: 'win32', cpu: 'x64' },
  { suffix: 'win32-arm64-msvc', target: 'aarch64-pc-windows-msvc', os: 'win32', cpu: 'arm64' },
];

export const platformOf = (target) => platforms.find((platform) => platform.target === target);

/** The platform of this machine, by the names that Node.js has for it. */
export function thisPlatform() {
  const isGlibc = process.report?.getReport().header.glibcVersionRuntime !== undefined;
  const libc = process.platform === 'linux' ? (isGlibc ? 'glibc' : 'musl') : undefined;
  return platforms.find(({ os, cpu, libc: own }) => os === process.platform && cpu === process.arch && own === libc);
}
