// The main job: starts a hub, one publishing and several subscribing spokes as processes of their own, waits until every subscriber
// has everything, and leaves nothing running. Does not carry events: messages with the processes are for coordination.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Display, summary } from './display.mjs';
import { LatencyHistogram } from './latency.mjs';

/** How long the processes have to get ready, and to end when they were told to. */
const patienceMs = 20_000;

/** Looks at the job; the parent may be blocked by its own output, so time without progress is counted in looks. */
const lookMs = 250;
const looksWithoutProgress = 60;

/**
 * Runs the job and prints its summary.
 * @param {{ input: string, subscribers: number, quiet: boolean, transport: string, redis?: string }} options `input`: a path, or "-"; `transport`:
 *   one that links.mjs listens by; `redis`: the URL of one that joins two hubs, which the subscribers take turns with; without it there is one hub
 * @returns {Promise<string | null>} what went wrong, or `null` when every subscriber has everything
 */
export async function runMainJob(options) {
  const job = new Job(options);
  try {
    await Promise.race([job.run(), job.failure]);
  } catch (error) {
    if (!(error instanceof JobError)) throw error;
    job.problem = error.message;
  } finally {
    await job.end();
  }
  process.stdout.write(summary(job));
  return job.problem;
}

/** A failure of the job that its text explains. */
class JobError extends Error {}

class Job {
  lines = 0;
  sent = 0;
  latency = new LatencyHistogram();
  subscribers = [];
  problem = null;
  failure;

  #options;
  #display = new Display();
  #fail;
  #processes = new Set();
  #publisher;
  #startedAt = performance.now();
  #finishedAt;
  #lookTimer;
  #rate = { at: performance.now(), received: 0, perSecond: 0 };

  constructor(options) {
    this.#options = options;
    this.failure = new Promise((_, reject) => {
      this.#fail = (message) => reject(new JobError(message));
    });
    // Raced with run(), and again with end(): a rejection in between is not lost.
    this.failure.catch(() => {});
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
      process.once(signal, () => this.#fail(`stopped by ${signal}`));
    process.stdout.on('error', () => this.#fail('the output was closed before the job was done'));
    process.once('exit', () => this.#killAll());
  }

  get received() {
    return this.subscribers.reduce((sum, { received }) => sum + received, 0);
  }

  get gaps() {
    return [...this.#processes].reduce((sum, { gaps }) => sum + gaps, 0);
  }

  get drops() {
    return [...this.#processes].reduce((sum, { drops }) => sum + drops, 0);
  }

  async run() {
    const { input, quiet } = this.#options;
    const mode = quiet ? 'quiet' : 'printing';
    const hubs = this.#startHubs();
    await this.#isReady(hubs);
    for (let i = 1; i <= this.#options.subscribers; i += 1) {
      const hub = hubs[(i - 1) % hubs.length];
      const at = hubs.length > 1 ? ` at ${hub.name}` : '';
      this.subscribers.push(this.#start('subscriber', [hub.address, String(i), mode], `subscriber ${i}${at}`));
    }
    this.#publisher = this.#start('publisher', [hubs[0].address, input, mode]);
    await this.#isReady([...this.subscribers, this.#publisher]);
    this.#startedAt = performance.now();
    this.#lookTimer = setInterval(() => this.#look(), lookMs);
    this.#publisher.child.send({ kind: 'go' });
    await Promise.all([this.#publisher.done, ...this.subscribers.map(({ done }) => done)]);
    this.#finishedAt = performance.now();
    this.#verify();
  }

  /** Ends all processes: those that still work are asked, those that do not listen are killed. */
  async end() {
    clearInterval(this.#lookTimer);
    this.#finishedAt ??= performance.now();
    this.#display.clear();
    if (this.problem !== null) this.#killAll();
    const isHub = ({ name }) => name.startsWith('hub');
    const hubs = [...this.#processes].filter(isHub);
    const spokes = [...this.#processes].filter((entry) => !isHub(entry));
    const tooLong = timeout(patienceMs);
    for (const group of [spokes, hubs]) {
      for (const entry of group) if (entry.child.connected) entry.child.send({ kind: 'stop' }, () => {});
      await Promise.race([Promise.all(group.map(({ closed }) => closed)), tooLong.promise]);
    }
    tooLong.cancel();
    for (const { name, isClosed, exit } of this.#processes) {
      if (!isClosed) this.problem ??= `the ${name} did not end ${patienceMs / 1000} s after it was told to`;
      else if (exit !== 0) this.problem ??= `the ${name} ended badly: ${exit}`;
    }
    this.#killAll();
    await Promise.all([...this.#processes].map(({ closed }) => closed));
  }

  elapsedMs() {
    return (this.#finishedAt ?? performance.now()) - this.#startedAt;
  }

  averageRate() {
    return Math.round((this.received * 1000) / Math.max(this.elapsedMs(), 1));
  }

  ratePerSecond() {
    return this.#rate.perSecond;
  }

  #startHubs() {
    const { redis, transport } = this.#options;
    if (redis === undefined) return [this.#start('hub', [transport])];
    return ['hub 1', 'hub 2'].map((name) => this.#start('hub', [transport, redis], name));
  }

  #start(file, args, name = file) {
    const usesStdin = file === 'publisher' && this.#options.input === '-';
    const child = fork(fileURLToPath(new URL(`${file}.mjs`, import.meta.url)), args, {
      stdio: [usesStdin ? 'inherit' : 'ignore', file === 'subscriber' ? 'pipe' : 'ignore', 'inherit', 'ipc'],
      execArgv: [],
    });
    const entry = { name, child, received: 0, gaps: 0, drops: 0, printed: 0, isClosed: false };
    entry.ready = new Promise((resolve) => {
      entry.onReady = resolve;
    });
    entry.done = new Promise((resolve) => {
      entry.onDone = resolve;
    });
    entry.closed = new Promise((resolve) => {
      child.once('close', () => {
        entry.isClosed = true;
        resolve();
      });
    });
    child.on('message', (message) => this.#onMessage(entry, message));
    child.once('exit', (code, signal) => {
      entry.exit = signal ?? code;
      if (!entry.isStopped)
        this.#fail(`the ${name} ended early, ${signal === null ? `with exit code ${code}` : `by ${signal}`}`);
    });
    child.once('error', (error) => this.#fail(`the ${name} could not be started: ${error.message}`));
    if (child.stdout !== null) this.#printLinesOf(child.stdout);
    this.#processes.add(entry);
    return entry;
  }

  #onMessage(entry, { kind, latency, ...fields }) {
    if (latency !== undefined) this.latency.merge(latency);
    if (fields.received > entry.received || fields.sent > (entry.sent ?? 0)) this.#idleLooks = 0;
    Object.assign(entry, fields);
    if (entry === this.#publisher) Object.assign(this, { lines: entry.lines ?? 0, sent: entry.sent ?? 0 });
    if (kind === 'ready') entry.onReady();
    else if (kind === 'done') entry.onDone();
    else if (kind === 'stopped') entry.isStopped = true;
    else if (kind === 'failed') this.#fail(`${entry.name}: ${fields.message}`);
    else if (kind === 'printed') this.#onPrinted(entry, fields.through);
  }

  /** Passes whole lines on, so that those of two subscribers never mix. */
  #printLinesOf(stream) {
    let rest = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk) => {
      const text = rest + chunk;
      const end = text.lastIndexOf('\n') + 1;
      rest = text.slice(end);
      if (end > 0 && !this.#display.print(text.slice(0, end), () => stream.resume())) stream.pause();
    });
  }

  /** The publisher hears how far the slowest subscriber has printed. */
  #onPrinted(entry, through) {
    entry.printed = through;
    const slowest = Math.min(...this.subscribers.map(({ printed }) => printed));
    if (slowest > (this.#publisher.told ?? 0) && this.#publisher.child.connected) {
      this.#publisher.told = slowest;
      this.#publisher.child.send({ kind: 'printed', through: slowest }, () => {});
    }
  }

  async #isReady(entries) {
    const tooLong = timeout(patienceMs);
    await Promise.race([Promise.all(entries.map(({ ready }) => ready)), tooLong.promise]);
    tooLong.cancel();
    if (tooLong.isOver)
      throw new JobError(`not ready after ${patienceMs / 1000} s: ${entries.map(({ name }) => name).join(', ')}`);
  }

  #idleLooks = 0;

  #look() {
    const passed = performance.now() - this.#rate.at;
    this.#rate = {
      at: performance.now(),
      received: this.received,
      perSecond: Math.round(((this.received - this.#rate.received) * 1000) / passed),
    };
    this.#display.live(this);
    this.#idleLooks = this.#publisher.digest === undefined ? 0 : this.#idleLooks + 1;
    if (this.#idleLooks <= looksWithoutProgress) return;
    const waiting = this.subscribers.filter(({ digest }) => digest === undefined);
    this.#fail(
      waiting.map(({ name, received }) => `${name} has ${received} of ${this.sent} events and gets no more`).join('; '),
    );
  }

  /** Number, order and content. */
  #verify() {
    const { digest } = this.#publisher;
    const complaints = this.subscribers.flatMap(({ name, received, misplaced, digest: own }) => {
      if (received !== this.sent) return [`${name} has ${received} of ${this.sent} events`];
      if (misplaced > 0) return [`${name} got ${misplaced} events out of order`];
      return own === digest ? [] : [`${name} has other content than was sent`];
    });
    if (this.sent !== this.lines) complaints.unshift(`${this.lines} lines read, but ${this.sent} sent`);
    if (complaints.length > 0) throw new JobError(complaints.join('; '));
  }

  #killAll() {
    for (const entry of this.#processes) {
      entry.isStopped = true;
      if (!entry.isClosed) entry.child.kill('SIGKILL');
    }
  }
}

function timeout(ms) {
  const result = { isOver: false };
  result.promise = new Promise((resolve) => {
    const timer = setTimeout(() => {
      result.isOver = true;
      resolve();
    }, ms);
    result.cancel = () => clearTimeout(timer);
  });
  return result;
}
