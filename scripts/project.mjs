// Where the project's parts are and what its manifests say. Does not run anything.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of package.json. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** CI: what is missing is a failure, lock files are not changed. */
export const isCI = process.env.CI === 'true' || process.env.CI === '1';

export const fromRoot = (...parts) => join(root, ...parts);

export const packageJson = (folder = root) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** The JavaScript file behind a command of an installed package: runs under any shell and on Windows. */
export const commandOf = {
  tsc: fromRoot('node_modules/typescript/bin/tsc'),
  biome: fromRoot('node_modules/@biomejs/biome/bin/biome'),
  publint: fromRoot('node_modules/publint/src/cli.js'),
  attw: fromRoot('node_modules/@arethetypeswrong/cli/dist/index.js'),
};

/** `rust-version` of the workspace: the oldest compiler that builds it. */
export function requiredRust() {
  const manifest = readFileSync(fromRoot('Cargo.toml'), 'utf8');
  const found = /^rust-version\s*=\s*"([\d.]+)"/m.exec(manifest);
  if (found === null) throw new Error('Cargo.toml names no rust-version');
  return found[1];
}

/** `engines.node`, without the sign. */
export const requiredNode = () => packageJson().engines.node.replace(/^>=/, '');

/** Is version `have` at least `want`? Both `1.2.3`, missing parts are 0. */
export function isAtLeast(have, want) {
  const [a, b] = [have, want].map((version) => version.split('.').map((part) => Number.parseInt(part, 10) || 0));
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** Extra arguments of every cargo command: with CI the lock file must be right as it is. */
export const lockedInCI = () => (isCI && existsSync(fromRoot('Cargo.lock')) ? ['--locked'] : []);
