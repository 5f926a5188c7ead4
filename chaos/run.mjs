// One run: a hub, publishing and subscribing spokes as processes of their own, a fault proxy before each spoke, and a schedule of faults.
// Strikes by progress, waits until all is quiet, and lets the checker judge. Does not print.
// Invariant: every fault of the schedule strikes once; what a fault holds up is let go before the end is checked.
import { createFaultProxy } from '@alkdev/pubsub-native/testing';
import { Failure } from '../scripts/run.mjs';
import { judge } from './checker.mjs';
import { Party } from './party.mjs';

const HEARTBEAT_MS = 1000;
/** Nothing published and nothing heard for so long: the run hangs. */
const STANDSTILL_MS = 60_000;
/** At the end, all must have heard a last event within this time, and each one of the last is given so long. */
const [SETTLE_MS, SOON_MS] = [60_000, 2000];
/** A publisher may notice so late that its link is lost; what it publishes until then is counted as sent. */
const NOTICED_WITHIN_MS = 250;
const FLOOD_EVENTS = 4000;
/** A reader that is slower than a flood. */
const SLOW_BYTES_PER_SECOND = 1 << 20;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * @param {object} options see main.mjs
 * @param {object[]} schedule
 * @param {(line: string) => void} log
 */
export async function run(options, schedule, log) {
  const chaos = new Chaos(options, schedule, log);
  try {
    return await Promise.race([chaos.run(), chaos.failure]);
  } finally {
    await chaos.end();
  }
}

class Chaos {
  failure;
  #options;
  #schedule;
  #log;
  #fail;
  #proxies = [];
  #parties = new Set();
  #hub;
  #publishers;
  #subscribers;
  #hubPort = 0;
  #hubEpochs = [{ published: 0, isExact: false }];
  #published = [];
  #received = [];
  #trouble = [];
  #slowConsumers = 0;
  #pending = new Set();
  #next = 0;
  #id = 0;
  #resting = new Set();
  #hubIsUp;
  #struck = {};

  constructor(options, schedule, log) {
    this.#options = options;
    this.#schedule = schedule;
    this.#log = log;
    this.failure = new Promise((_, reject) => {
      this.#fail = (text) => reject(new Failure(text));
    });
    this.failure.catch(() => {});
  }

  async run() {
    const { subscribers, publishers, bytes, rate } = this.#options;
    this.#hubIsUp = this.#startHub(0);
    await this.#hubIsUp;
    const urls = await this.#startProxies(subscribers + publishers);
    const base = { heartbeatMs: HEARTBEAT_MS };
    this.#subscribers = this.#start('subscribers', {
      ...base,
      urls: urls.slice(0, subscribers),
      publishers: publishers + 1,
    });
    await this.#subscribers.told('ready');
    const quota = this.#quota();
    this.#publishers = this.#start('publishers', {
      ...base,
      urls: urls.slice(subscribers),
      quota,
      bytes,
      rate: (rate * publishers) / (publishers + 1),
    });
    await this.#publishers.told('ready');
    const began = performance.now();
    this.#publishers.say('go');
    this.#hub.say('go', { quota });
    await this.#untilQuiet();
    const ends = await this.#finish();
    const verdict = judge(ends.summaries, ends.publishers);
    return {
      verdict,
      elapsedMs: performance.now() - began,
      published: ends.published,
      struck: this.#struck,
      trouble: this.#trouble,
      drops: ends.drops,
      slowConsumers: this.#slowConsumers,
      gapsOut: ends.gapsOut,
    };
  }

  async end() {
    await Promise.all([...this.#parties].map((party) => party.kill()));
    await Promise.all(this.#proxies.map((proxy) => proxy.close()));
  }

  /** Events of one publisher. */
  #quota() {
    return Math.floor(this.#options.events / (this.#options.publishers + 1));
  }

  // ---- Parties -----------------------------------------------------------------------------------------------------------------

  #start(file, config) {
    const party = new Party(file, config, { hear: (message) => this.#hear(party, message), fail: this.#fail });
    this.#parties.add(party);
    party.exited.then(() => this.#parties.delete(party));
    return party;
  }

  async #startHub(epoch) {
    const { rate, bytes, publishers } = this.#options;
    const config = { port: this.#hubPort, epoch, bytes, heartbeatMs: HEARTBEAT_MS, rate: rate / (publishers + 1) };
    this.#hub = this.#start('hub', config);
    this.#hubPort = (await this.#hub.told('listening')).port;
  }

  async #startProxies(count) {
    const { seed } = this.#options;
    for (let n = 0; n < count; n++)
      this.#proxies.push(createFaultProxy({ to: { port: this.#hubPort }, seed: (seed + n) % 2 ** 32 }));
    await Promise.all(this.#proxies.map((proxy) => proxy.ready()));
    return this.#proxies.map(({ url }) => url);
  }

  #hear(party, { kind, ...fields }) {
    if (kind === 'trouble') this.#trouble.push(fields.text);
    if (kind !== 'progress') return;
    if (party === this.#subscribers) this.#received = fields.received;
    else if (party === this.#publishers) this.#published = fields.published;
    else this.#hearHub(fields);
    this.#strikeDue();
  }

  /** `isExact`: nothing more is published in this epoch. */
  #hearHub({ epoch, published, stats }, isExact = false) {
    if (this.#hubEpochs[epoch].isExact) return;
    this.#hubEpochs[epoch] = { published, isExact, slowConsumers: stats.slowConsumers };
  }

  #total() {
    return sum(this.#published) + sum(this.#hubEpochs.map(({ published }) => published));
  }

  /** All faults have struck and are over, and everybody has published what they should. */
  async #untilQuiet() {
    const quota = this.#quota();
    const state = () =>
      JSON.stringify([this.#published, this.#hubEpochs.map(({ published }) => published), this.#received, this.#next]);
    let [before, since] = [state(), performance.now()];
    let shown = 0;
    for (;;) {
      await sleep(50);
      const isDone =
        this.#next === this.#schedule.length &&
        this.#pending.size === 0 &&
        this.#published.every((published) => published >= quota) &&
        sum(this.#hubEpochs.map(({ published }) => published)) >= quota;
      if (isDone) return;
      const now = state();
      if (now !== before) [before, since] = [now, performance.now()];
      else if (performance.now() - since > STANDSTILL_MS) throw new Failure(`nothing moves: ${now}`);
      const tenth = Math.floor((10 * this.#total()) / this.#options.events);
      if (tenth > shown) {
        shown = tenth;
        this.#log(`${this.#total()} events published, ${sum(this.#received)} heard, ${this.#next} faults`);
      }
    }
  }

  // ---- Faults ------------------------------------------------------------------------------------------------------------------

  #strikeDue() {
    for (; this.#next < this.#schedule.length && this.#schedule[this.#next].at <= this.#total(); this.#next++) {
      const fault = this.#schedule[this.#next];
      const struck = this.#strike(fault).catch((error) => this.#fail(`${fault.kind}: ${error.message}`));
      this.#pending.add(struck);
      struck.then(() => this.#pending.delete(struck));
    }
  }

  async #strike(fault) {
    const name = fault.kind === 'cut' || fault.kind === 'restart' ? `${fault.kind}, ${fault.how}` : fault.kind;
    this.#struck[name] = (this.#struck[name] ?? 0) + 1;
    const proxy = fault.role === undefined ? undefined : this.#proxyOf(fault.role, fault.index);
    switch (fault.kind) {
      case 'cut':
        return void cuts[fault.how](proxy);
      case 'stall':
        return stall(proxy, fault.direction, fault.ms);
      case 'lag':
        proxy.delay(fault.delayMs, { jitterMs: fault.jitterMs });
        await sleep(fault.ms);
        return void proxy.delay(0);
      case 'restart':
        return this.#restart(fault);
      case 'rest':
        return this.#rest(fault);
      case 'flood':
        return this.#flood(fault);
    }
  }

  /** More comes than all buffers hold: a reader that stands still, or reads slowly, is cut by the hub. */
  async #flood({ index, how, ms }) {
    const proxy = this.#proxyOf('subscriber', index);
    const over = how === 'standing' ? stall(proxy, 'both', ms) : slow(proxy, ms);
    this.#hub.say('flood', { count: Math.min(FLOOD_EVENTS, Math.ceil(this.#quota() / 5)) });
    await over;
  }

  #proxyOf(role, index) {
    return this.#proxies[role === 'subscriber' ? index : this.#options.subscribers + index];
  }

  /** One at a time: the next waits until the hub is there again. */
  #restart(fault) {
    this.#hubIsUp = this.#hubIsUp.then(() => this.#replaceHub(fault));
    return this.#hubIsUp;
  }

  async #replaceHub({ how, downMs }) {
    const old = this.#hub;
    const epoch = this.#hubEpochs.length - 1;
    if (how === 'orderly') {
      old.expectEnd();
      const { published, stats } = await old.ask('restart', 'stopped');
      this.#hearHub({ epoch, published, stats }, true);
      await old.exited;
    } else await old.kill();
    this.#slowConsumers += this.#hubEpochs[epoch].slowConsumers ?? 0;
    await sleep(downMs);
    this.#hubEpochs.push({ published: 0, isExact: false });
    await this.#startHub(epoch + 1);
    const before = sum(this.#hubEpochs.map(({ published }) => published));
    this.#hub.say('go', { quota: Math.max(0, this.#quota() - before) });
  }

  /** A subscriber without listeners for a while; then it must hear whatever is published after it was ready again. */
  async #rest({ index, ms }) {
    if (this.#resting.has(index)) return;
    this.#resting.add(index);
    this.#subscribers.say('rest', { index });
    await sleep(ms);
    await this.#askSubscribers('rejoin', 'rejoined', { index });
    const [own, others] = await Promise.all([this.#markOfHub(), this.#askPublishers()]);
    this.#subscribers.say('marks', { index, marks: [own, ...others] });
    this.#resting.delete(index);
  }

  /** Where the hub's own events are; a hub that dies before it answers is asked no more, and its next life counts from the start. */
  async #markOfHub() {
    const epoch = this.#hubEpochs.length - 1;
    const hub = this.#hub;
    this.#id++;
    const answer = hub.ask('mark', 'mark', { id: this.#id });
    const late = hub.exited.then(() => ({ mark: [epoch + 1, 0] }));
    return (await Promise.race([answer.catch(() => late), late])).mark;
  }

  async #askPublishers() {
    this.#id++;
    return (await this.#publishers.ask('mark', 'marks', { id: this.#id })).marks;
  }

  #askSubscribers(kind, answer, fields = {}) {
    this.#id++;
    return this.#subscribers.ask(kind, answer, { id: this.#id, ...fields });
  }

  // ---- The end -----------------------------------------------------------------------------------------------------------------

  /** On live links with active topics one last event of everybody, until everybody has heard it: a link may only now be found to be dead. */
  async #finish() {
    await this.#hubIsUp;
    const deadline = performance.now() + SETTLE_MS;
    while (!(await this.#isLastHeard())) {
      if (performance.now() > deadline) {
        this.#trouble.push(`the last events were not heard by everybody within ${SETTLE_MS / 1000} s`);
        break;
      }
    }
    const { stats } = await this.#hub.ask('tell', 'told');
    this.#slowConsumers += stats.slowConsumers;
    const { summaries } = await this.#subscribers.ask('summarise', 'summaries');
    const told = (await this.#publishers.ask('tell', 'told')).publishers;
    return { summaries, ...this.#accounts(told) };
  }

  /** Publishes one event more from each, and says whether all have heard all of them soon. */
  async #isLastHeard() {
    await this.#askSubscribers('ready', 'allReady');
    const [hub, spokes] = await Promise.all([
      this.#hub.ask('finish', 'finished'),
      this.#publishers.ask('finish', 'finished'),
    ]);
    const epoch = this.#hubEpochs.length - 1;
    this.#hubEpochs[epoch] = { published: hub.published, isExact: true };
    const lasts = [[epoch, hub.published - 1], ...spokes.publishers.map(({ published }) => [0, published - 1])];
    const soon = performance.now() + SOON_MS;
    while (performance.now() < soon) {
      if ((await this.#askSubscribers('look', 'looked', { lasts })).isThere) return true;
      await sleep(20);
    }
    return false;
  }

  #accounts(told) {
    const { rate, publishers } = this.#options;
    const lateBy = Math.ceil((rate / (publishers + 1)) * (NOTICED_WITHIN_MS / 1000));
    const hub = {
      totals: this.#hubEpochs.map(({ published, isExact }) => (isExact ? published : null)),
      losses: [],
      dropped: [],
      lateBy: 0,
    };
    const spokes = told.map(({ published, losses, dropped }) => ({ totals: [published], losses, dropped, lateBy }));
    for (const { dropped, counted, reported } of told) {
      const exact = sum(dropped.map(([from, to]) => to - from));
      if (exact !== counted || exact !== reported)
        this.#trouble.push(`a publisher dropped ${exact} events, counted ${counted} and reported ${reported}`);
    }
    return {
      publishers: [hub, ...spokes],
      published: sum(told.map(({ published }) => published)) + sum(this.#hubEpochs.map(({ published }) => published)),
      drops: sum(told.map(({ counted }) => counted)),
      gapsOut: sum(told.map(({ losses }) => losses.length)),
    };
  }
}

const cuts = {
  cut: (proxy) => proxy.cut(),
  reset: (proxy) => proxy.reset(),
  'half-close up': (proxy) => proxy.halfClose('up'),
  'half-close down': (proxy) => proxy.halfClose('down'),
};

async function stall(proxy, direction, ms) {
  proxy.stall(direction);
  await sleep(ms);
  proxy.resume(direction);
}

async function slow(proxy, ms) {
  proxy.throttle(SLOW_BYTES_PER_SECOND, 'down');
  await sleep(ms);
  proxy.throttle(Number.POSITIVE_INFINITY, 'down');
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
