// A child process of a run as the parent sees it: asked, listened to, killed. Does not know what it does.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Failure } from '../scripts/run.mjs';

/** A party that does not answer for so long hangs. Generous, for a busy machine. */
const PATIENCE_MS = 60_000;

export class Party {
  #child;
  #name;
  #waiting = new Map();
  #isEndExpected = false;
  #hasEnded = false;

  /** `hear(message)` gets what nobody waits for; `fail(text)` is told of an early end. */
  constructor(file, config, { hear, fail }) {
    this.#name = file;
    this.#child = fork(fileURLToPath(new URL(`${file}.mjs`, import.meta.url)), [JSON.stringify(config)], {
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message) => {
      const key = keyOf(message.kind, message.id);
      const waiting = this.#waiting.get(key);
      if (waiting === undefined) return hear(message);
      this.#waiting.delete(key);
      waiting.resolve(message);
    });
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.#hasEnded = true;
        if (!this.#isEndExpected) fail(`${file} ended early: ${signal ?? code}`);
        for (const { reject } of this.#waiting.values()) reject(ended(file));
        resolve();
      });
    });
  }

  say(kind, fields = {}) {
    if (this.#child.connected) this.#child.send({ kind, ...fields }, () => {});
  }

  /** The next message of this kind, and with this `id` where one is given. */
  told(kind, id = undefined) {
    if (this.#hasEnded) return Promise.reject(ended(this.#name));
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Failure(`${this.#name} did not say "${kind}" within ${PATIENCE_MS / 1000} s`)),
        PATIENCE_MS,
      );
      const settle = (settler) => (value) => {
        clearTimeout(late);
        settler(value);
      };
      this.#waiting.set(keyOf(kind, id), { resolve: settle(resolve), reject: settle(reject) });
    });
  }

  ask(kind, answer, fields = {}) {
    const told = this.told(answer, fields.id);
    this.say(kind, fields);
    return told;
  }

  expectEnd() {
    this.#isEndExpected = true;
  }

  async kill() {
    this.expectEnd();
    this.#child.kill('SIGKILL');
    await this.exited;
  }
}

const ended = (name) => new Failure(`${name} ended instead of answering`);

const keyOf = (kind, id = '') => `${kind} ${id}`;
