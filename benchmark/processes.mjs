// Processes that answer each command with a line of JSON, and the ones that take part in `npm run bench`.
// Invariant: a process that ends early or says nothing for long fails whatever waits for it.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fromRoot } from '../scripts/project.mjs';
import { Failure } from '../scripts/run.mjs';
import { peers } from './scenarios.mjs';

/** No command takes so long: something hangs. */
const PATIENCE_MS = 60_000;
/** The program itself: `node_modules/.bin/bun` needs an install script. */
export const bun = fromRoot(
  `node_modules/@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : process.arch}/bin/bun`,
);
/** A connection is a descriptor: as many as this machine lets anybody have. */
const raiseLimit = 'ulimit -n "$(ulimit -Hn)" && exec "$@"';

export class Child {
  #process;
  #waiting = [];
  #name;
  #ended;

  /** Resolves when the process has said that it is ready; what it said is in `hello`. */
  static async start(name, command, args) {
    const child = new Child(name, command, args);
    child.hello = await child.#answer('it is ready');
    return child;
  }

  constructor(name, command, args) {
    this.#name = name;
    this.#process = spawn('sh', ['-c', raiseLimit, 'sh', command, ...args.map(String)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#process.stdout }).on('line', (line) =>
      this.#waiting.shift()?.resolve(JSON.parse(line)),
    );
    this.#ended = new Promise((resolve) => this.#process.on('close', resolve));
    this.#process.on('error', (error) => this.#fail(error));
    this.#ended.then(() => this.#fail(new Failure(`${name} ended early`)));
    this.#process.stdin.on('error', () => {});
  }

  get pid() {
    return this.#process.pid;
  }

  /** Words for the processes in Rust, fields for those in JavaScript. */
  ask(command) {
    const line = typeof command === 'string' ? command : JSON.stringify(command);
    this.#process.stdin.write(`${line}\n`);
    return this.#answer(line);
  }

  async stop() {
    this.#process.kill('SIGKILL');
    await this.#ended;
  }

  #answer(to) {
    const { promise, resolve, reject } = withResolvers();
    const timer = setTimeout(() => reject(new Failure(`${this.#name} did not answer: ${to}`)), PATIENCE_MS);
    this.#waiting.push({ resolve, reject });
    return promise.finally(() => clearTimeout(timer));
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

function withResolvers() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

/** Starts the processes of the peers. `build`: where the package, the one before and the Rust example are. */
export class Launcher {
  #build;

  constructor(build) {
    this.#build = build;
  }

  hub(peer) {
    const { bare } = peers[peer];
    if (bare !== undefined) return this.rust('yardstick', 'bare', bare);
    return this.#script(`hub of ${peer}`, peers[peer].runtime, `hubs/${peers[peer].hub}.mjs`, [this.#folderOf(peer)]);
  }

  client(peer, address, depth) {
    return this.#script(`clients of ${peer}`, peers[peer].runtime, 'clients/trips.mjs', [
      peers[peer].client ?? peer,
      address,
      depth,
      this.#folderOf(peer),
    ]);
  }

  inProcess(variant) {
    return this.#script(variant, 'node', 'clients/in-process.mjs', [
      peers[variant].client ?? variant,
      this.#folderOf(variant),
    ]);
  }

  #folderOf(peer) {
    return peer === 'before' ? this.#build.before : this.#build.folder;
  }

  rust(name, ...args) {
    return Child.start(name, this.#build.example, args);
  }

  #script(name, runtime, file, args) {
    const script = fromRoot('benchmark', file);
    if (runtime === 'bun') return Child.start(name, bun, [script, ...args]);
    return Child.start(name, process.execPath, ['--expose-gc', script, ...args]);
  }
}

export const protocolOf = (peer) => peers[peer].protocol ?? 'plain';
