// Starts a relay of Iroh on this machine: the program that the engine's example `iroh_relay` builds to. Knows no hubs, spokes or tests.
// Invariant: the relay ends with the process that started it, also when that one is killed: its standard input ends then.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const built = fileURLToPath(new URL('../../target/debug/examples/iroh_relay', import.meta.url));
const suffix = process.platform === 'win32' ? '.exe' : '';

/** What is started: IROH_RELAY, or what `cargo build --example iroh_relay` has built. */
export const relayProgram = process.env.IROH_RELAY ?? built + suffix;

/** False, or why there is no relay. */
export const withoutRelay = existsSync(relayProgram)
  ? false
  : `no ${relayProgram}: "cargo build -p alkpubsub-engine --features iroh --example iroh_relay"`;

/** Starts a relay. Arguments: those of the example, such as `--token`. `via`: a command that runs it, such as `ip netns exec`. */
export async function startRelay(args = [], via = []) {
  if (withoutRelay) throw new Error(withoutRelay);
  const [command, ...rest] = [...via, relayProgram, ...args];
  const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  const relay = new Relay(child);
  Object.assign(relay, await relay.line());
  return relay;
}

class Relay {
  /** Where clients find it. */
  url;
  /** PEM of the authority of its certificate, with `--tls`. */
  root;
  #child;
  #ended;
  #text = '';

  constructor(child) {
    this.#child = child;
    this.#ended = once(child, 'close');
    this.#ended.catch(() => {});
    child.stdout.setEncoding('utf8').on('data', (text) => {
      this.#text += text;
    });
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  /** Bytes that went through it. */
  async relayed() {
    this.#child.stdin.write('\n');
    return (await this.line()).relayed;
  }

  /** Ends it at once, as a crash does. */
  async kill() {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  /** Ends it orderly. */
  async stop() {
    this.#child.stdin.end();
    await this.#ended;
  }

  /** The next line of JSON. */
  async line() {
    while (!this.#text.includes('\n')) {
      const isOver = this.#ended.then(([code, signal]) => `the relay ended by ${signal ?? code}`);
      const over = await Promise.race([isOver, once(this.#child.stdout, 'data').then(() => false)]);
      if (over && !this.#text.includes('\n')) throw new Error(over);
    }
    const end = this.#text.indexOf('\n');
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return JSON.parse(line);
  }
}
