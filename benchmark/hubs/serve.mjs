// The part of a hub process that is the same for all hubs of `npm run bench`: commands, publishing within credit, the event loop's delay.
// Does not know hubs. Commands are lines of JSON on standard input, each is answered by one on standard output.
// Invariant: no more than `window` events of a topic are under way to its slowest subscriber.

import { connect, createServer } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';

/** Between two looks at the event loop. What it is late is what a timer is late by. */
const RESOLUTION_MS = 10;
/** A publisher of the inbound scenarios hears about progress so often. */
const INBOUND_STEP = 256;
const ENVELOPE_BYTES = 200;
/** Dispatches of a round whose time is kept. */
const MAX_SAMPLES = 1 << 16;
/** One turn in so many is measured by the thread's own clock, which costs more than a dispatch: as fast as it goes, and paced. */
const CPU_EVERY = { fast: 8, paced: 2 };

/** A payload that makes an envelope as long as those of the other publishers. */
const payload = {
  n: 1000000,
  text: 'x'.repeat(
    ENVELOPE_BYTES - JSON.stringify({ type: 'bench', id: 't0', payload: { n: 1000000, text: '' } }).length,
  ),
};

/** How many events the slowest has: four bytes each time, see engine/examples/bench. */
class Credit {
  arrived = 0;
  #wake;

  async follow(address) {
    const socket = await connected(address);
    let rest = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const whole = bytes.length & ~3;
      rest = bytes.subarray(whole);
      if (whole > 0) this.arrived = bytes.readUInt32LE(whole - 4);
      this.#wake?.();
    });
  }

  /** Calls back when something has arrived. */
  wait(callback) {
    this.#wake = () => {
      this.#wake = undefined;
      callback();
    };
  }
}

function connected(address) {
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host, () => resolve(socket)).on('error', reject);
    socket.setNoDelay(true);
  });
}

/** Medians of the last samples of a round. */
class Samples {
  #took = new Float64Array(MAX_SAMPLES);
  #count = 0;

  clear() {
    this.#count = 0;
  }

  add(took) {
    this.#took[this.#count++ % MAX_SAMPLES] = took;
  }

  /** Undefined without samples. */
  median() {
    const took = this.#took.slice(0, Math.min(this.#count, MAX_SAMPLES)).sort();
    return took[took.length >> 1];
  }
}

/** A publisher in this process. */
class Publisher {
  #credit = new Credit();
  #publish;
  #cpuNs;
  /** What reading that clock twice takes of it. */
  #cpuCostNs = 0;
  #sent = 0;
  #wallMs = new Samples();
  #cpu = new Samples();

  constructor({ publish, threadCpuNs }) {
    this.#publish = publish;
    this.#cpuNs = threadCpuNs;
    if (threadCpuNs !== undefined) this.#cpuCostNs = costOf(threadCpuNs);
  }

  follow(address) {
    return this.#credit.follow(address);
  }

  /** Resolves when everything has arrived. */
  run({ window, burst, perSecond, topics, ms }) {
    const [began, before] = [performance.now(), this.#sent];
    const [credit, ids] = [this.#credit, Array.from({ length: topics }, (_, topic) => `t${topic}`)];
    let turns = 0;
    const cpuEvery = perSecond === 0 ? CPU_EVERY.fast : CPU_EVERY.paced;
    this.#wallMs.clear();
    this.#cpu.clear();
    const turn = () => {
      for (let n = 0; n < burst; n++) this.#publish('bench', ids[this.#sent++ % topics], payload);
    };
    const hasArrived = () => credit.arrived * topics >= this.#sent;
    return new Promise((resolve) => {
      const finish = () => {
        if (!hasArrived()) return credit.wait(finish);
        resolve({ sent: this.#sent - before, ms: performance.now() - began, ...this.#dispatch(burst) });
      };
      const step = () => {
        // Every topic gets as many, so that the slowest reader tells when all have arrived.
        if (performance.now() - began >= ms && this.#sent % topics === 0) return finish();
        if (this.#sent + burst - credit.arrived * topics > window * topics) return credit.wait(step);
        if (this.#cpuNs !== undefined && ++turns % cpuEvery === 0) this.#cpu.add(timed(turn, this.#cpuNs));
        else this.#wallMs.add(timed(turn, wallMs));
        if (perSecond === 0) return setImmediate(step);
        const due = began + ((this.#sent - before) / burst) * (1000 / perSecond);
        setTimeout(step, Math.max(0, due - performance.now()));
      };
      step();
    });
  }

  /** Microseconds that the dispatch of one event keeps its caller, and those that its thread works for it meanwhile. */
  #dispatch(burst) {
    const [ms, cpuNs] = [this.#wallMs.median(), this.#cpu.median()];
    return {
      dispatchUs: (ms * 1000) / burst,
      ...(cpuNs === undefined ? {} : { dispatchCpuUs: Math.max(0, cpuNs - this.#cpuCostNs) / 1000 / burst }),
    };
  }
}

const wallMs = () => performance.now();

function timed(work, clock) {
  const start = clock();
  work();
  return clock() - start;
}

function costOf(clock) {
  const samples = new Samples();
  for (let n = 0; n < 10_000; n++) samples.add(timed(() => {}, clock));
  return samples.median();
}

/** Counts what comes in, for a publisher in another process. */
async function countInbound(hub, { ids, window }) {
  const publishers = new Set();
  let [arrived, told] = [0, 0];
  const count = () => {
    arrived++;
    if (arrived - told >= INBOUND_STEP) tell();
  };
  const tell = () => {
    if (arrived === told) return;
    told = arrived;
    const number = Buffer.alloc(4);
    number.writeUInt32LE(told);
    for (const socket of publishers) socket.write(number);
  };
  setInterval(tell, 5).unref();
  if (ids > 0) for (let id = 0; id < ids; id++) hub.listen('bench', `in${id}`, count);
  else listenAhead(hub, window, count);
  const server = createServer((socket) => publishers.add(socket.setNoDelay(true)));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { credit: `127.0.0.1:${server.address().port}` };
}

/** Listens to each id once, as whoever waits for the answer to a request does; the publisher is never further than the window. */
function listenAhead(hub, window, count) {
  let next = 0;
  const hear = () => {
    count();
    hub.once('bench', `k${next++}`, hear);
  };
  while (next < window) hub.once('bench', `k${next++}`, hear);
}

/** @param hub { address, publish(type, id, payload), listen(type, id, callback), once(…), subscribers(topic), threadCpuNs?() } */
export function serve(hub) {
  const publisher = new Publisher(hub);
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  hub.listen('bench', 'ask', (text) => hub.publish('bench', 'answer', text));
  const handlers = {
    credit: async ({ address }) => publisher.follow(address),
    subscribers: ({ topic }) => ({ subscribers: hub.subscribers(topic) }),
    publish: (plan) => publisher.run(plan),
    inbound: (plan) => countInbound(hub, plan),
    begin: () => {
      delay.reset();
      delay.enable();
    },
    end: () => {
      delay.disable();
      return { loopP99Ms: Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS) };
    },
    collect: () => {
      (globalThis.Bun?.gc ?? globalThis.gc)?.(true);
    },
  };
  const answer = (fields) => process.stdout.write(`${JSON.stringify(fields ?? {})}\n`);
  createInterface({ input: process.stdin })
    .on('line', async (line) => {
      const { command, ...fields } = JSON.parse(line);
      answer(await handlers[command](fields));
    })
    .on('close', () => process.exit());
  answer({ address: hub.address });
}

/** Who listens in the process of a hub that has no listeners of its own. */
export class Listeners {
  #byTopic = new Map();

  listen(type, id, callback) {
    this.#byTopic.set(`${type}:${id}`, callback);
  }

  once(type, id, callback) {
    const topic = `${type}:${id}`;
    this.#byTopic.set(topic, (content) => {
      this.#byTopic.delete(topic);
      callback(content);
    });
  }

  hear({ type, id, payload: content }) {
    this.#byTopic.get(`${type}:${id}`)?.(content);
  }
}
