// The runtimes that scripts start, and tools that npm has: found among the development packages, or installed once into target/tools. Nothing is
// added to the project's dependencies. Runs nothing by itself.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fromRoot, root } from './project.mjs';
import { Failure, npm, probe, timed } from './run.mjs';

/** The lines of Node.js that are supported, and the newest of each when this was written. */
export const nodes = { node20: '20.20.2', node22: '22.23.3', node24: '24.21.0', node26: '26.10.0' };

const exe = process.platform === 'win32' ? '.exe' : '';
const bunArch = process.arch === 'arm64' ? 'aarch64' : process.arch;
const bunPlatform = process.platform === 'win32' ? 'windows' : process.platform;
const denoSuffix = process.platform === 'linux' ? '-glibc' : '';

const commands = {
  'Node.js': [process.execPath],
  Deno: [fromRoot(`node_modules/@deno/${process.platform}-${process.arch}${denoSuffix}/deno${exe}`), 'deno'],
  Bun: [fromRoot(`node_modules/@oven/bun-${bunPlatform}-${bunArch}/bin/bun${exe}`), 'bun'],
};

/** How a runtime is started. `toArgs` takes permissions for Deno; the others have none. */
export function runtimeOf(name) {
  const command = commands[name].find((candidate) => probe(candidate, ['--version']) !== null);
  if (command === undefined) throw new Failure(`${name} has no binary for this machine`);
  const toArgs = name === 'Deno' ? (permissions) => ['run', '--no-prompt', ...permissions] : () => [];
  return { name, command, toArgs };
}

/** A file of a package of npm, installed when it is not there yet. `isForeign`: although it is for another platform. */
export function binaryOf(packageName, version, file, isForeign = false) {
  const folder = fromRoot('target/tools', `${packageName.replaceAll('/', '+')}-${version}`);
  const path = join(folder, 'node_modules', packageName, file);
  if (!existsSync(path)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    const args = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
    if (isForeign) args.push('--force');
    timed(`installing ${packageName} ${version}`, () => npm([...args, `${packageName}@${version}`], { quiet: true }));
  }
  if (!existsSync(path)) throw new Failure(`${packageName} ${version} has no ${relative(root, path)}`);
  return path;
}

/** A version of Node.js, from the npm package of its binary. */
export function nodeOf(version) {
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const binary = binaryOf(`node-${platform}-${process.arch}`, version, `bin/node${exe}`);
  const said = probe(binary, ['--version'])?.trim();
  if (said !== `v${version}`)
    throw new Failure(`${relative(root, binary)} is ${said ?? 'no program'}, not v${version}`);
  return binary;
}
