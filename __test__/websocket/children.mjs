// Child processes for tests: started with a fixture, spoken to over IPC or read line by line, never left behind.
import { fork, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Log, PATIENCE_MS, within } from './facts.mjs';

function fixturePath(name) {
  return fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
}

/** Starts a process that may have so many files open, by a shell whose limit it inherits. IPC passes through. */
function forkLimited(descriptors, path, args) {
  const command = ['-c', `ulimit -n ${descriptors} && exec "$0" "$@"`, process.execPath, path, ...args];
  return spawn('/bin/sh', command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
}

/** A child that talks: `say` and `told`. Ended with the test. `fixture` is a name, or `{ fixture, descriptors }`. */
export class Child {
  /** What the child said. */
  log = new Log();
  #process;

  constructor(t, fixture, ...args) {
    const texts = args.map(String);
    this.#process =
      typeof fixture === 'string'
        ? fork(fixturePath(fixture), texts, { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
        : forkLimited(fixture.descriptors, fixturePath(fixture.fixture), texts);
    this.#process.on('message', (message) => this.log.push(message));
    this.exited = new Promise((resolve) => this.#process.on('exit', (code, signal) => resolve(signal ?? code)));
    this.exited.then((how) => this.log.push({ kind: 'exited', how }));
    t.after(async () => {
      this.#process.kill('SIGKILL');
      await this.exited;
    });
  }

  get pid() {
    return this.#process.pid;
  }

  say(message) {
    this.#process.send(message);
  }

  kill(signal) {
    this.#process.kill(signal);
  }

  /** The first message of this kind; fails at once when the child is gone without it. */
  async told(kind, patienceMs = PATIENCE_MS) {
    const isAnswer = (message) => message.kind === kind || message.kind === 'exited';
    const answer = await this.log.has(isAnswer, `message "${kind}"`, patienceMs);
    if (answer.kind !== kind) throw new Error(`the child ended with ${answer.how} before it said "${kind}"`);
    return answer;
  }

  /** Says `kind` and waits for the answer of the same kind. */
  ask(kind, patienceMs) {
    this.say({ kind });
    return this.told(kind, patienceMs);
  }
}

/** Runs a fixture that is expected to end by itself; one that does not is killed, and `code` says so. */
export class Run {
  stdout = '';
  stderr = '';
  #lines = new Log();

  constructor(t, patienceMs, fixture, ...args) {
    const child = spawn(process.execPath, [fixturePath(fixture), ...args.map(String)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child = child;
    child.stdout.setEncoding('utf8').on('data', (text) => this.#read(text));
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
    const timer = setTimeout(() => {
      this.isHung = true;
      child.kill('SIGKILL');
    }, patienceMs);
    this.ended = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        clearTimeout(timer);
        this.#lines.push('(ended)');
        resolve(this.isHung ? `hung, killed after ${patienceMs} ms` : (signal ?? code));
      });
    });
    t.after(async () => {
      child.kill('SIGKILL');
      await this.ended;
    });
  }

  /** What follows `word ` in a line that the fixture printed. */
  async line(word) {
    const isIt = (line) => line === word || line.startsWith(`${word} `) || line === '(ended)';
    const line = await this.#lines.has(isIt, `line "${word}"`, 20_000);
    if (line === '(ended)')
      throw new Error(`ended with ${await this.ended} before "${word}": ${this.stdout}${this.stderr}`);
    return line.slice(word.length + 1);
  }

  async end() {
    return within(this.ended, 'the end of the process', 60_000);
  }

  #read(text) {
    const before = this.stdout.split('\n').length - 1;
    this.stdout += text;
    for (const line of this.stdout.split('\n').slice(before, -1)) this.#lines.push(line);
  }
}
