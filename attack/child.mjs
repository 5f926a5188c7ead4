// A child process of the attacks: asked and stopped. Does not know what it does.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Failure } from '../scripts/run.mjs';

/** A child that does not answer for so long hangs. */
const PATIENCE_MS = 60_000;

export class Child {
  #process;
  #name;
  /** Questions that wait, the oldest first: answers come in the order in which was asked, per kind. */
  #waiting = new Map();

  constructor(name, argument) {
    this.#name = name;
    this.#process = fork(fileURLToPath(new URL(`${name}.mjs`, import.meta.url)), [argument], {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#process.on('message', (message) => this.#waiting.get(message.kind)?.shift()?.resolve(message));
    this.exited = new Promise((resolve) => {
      this.#process.once('exit', (code, signal) => {
        this.#rejectAll(`ended with ${signal ?? code}`);
        resolve();
      });
    });
  }

  get pid() {
    return this.#process.pid;
  }

  told(kind) {
    return new Promise((resolve, reject) => {
      const text = `${this.#name} did not say "${kind}" within ${PATIENCE_MS / 1000} s`;
      const late = setTimeout(() => reject(new Failure(text)), PATIENCE_MS);
      const settle = (settler) => (value) => {
        clearTimeout(late);
        settler(value);
      };
      const queue = this.#waiting.get(kind) ?? [];
      this.#waiting.set(kind, [...queue, { resolve: settle(resolve), reject: settle(reject) }]);
    });
  }

  ask(kind, fields = {}) {
    const answer = this.told(kind);
    // A child that is gone rejects all that waits.
    if (this.#process.connected) this.#process.send({ kind, ...fields }, () => {});
    else this.#rejectAll('is gone');
    return answer;
  }

  #rejectAll(how) {
    for (const { reject } of [...this.#waiting.values()].flat()) reject(new Failure(`${this.#name} ${how}`));
    this.#waiting.clear();
  }

  async stop() {
    this.#process.kill('SIGKILL');
    await this.exited;
  }
}
