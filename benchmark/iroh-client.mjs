// One process of benchmark/iroh.mjs: a hub, or spokes, over this package, the official binding with frames written by hand, or Rust alone.
// Arguments: the folder of the package, the variant, the role. Does what its parent says, and answers each message with one.
import { pathToFileURL } from 'node:url';

const [folder, variant, role] = process.argv.slice(2);
const at = (path) => import(pathToFileURL(`${folder}/${path}`).href);
/** Bytes of an envelope without its payload. */
const ENVELOPE = JSON.stringify({ type: 'b', id: 'x', payload: '' }).length;
const payloadOf = (size) => 'x'.repeat(size - ENVELOPE);

/** Counts events, and settles when enough have come. */
class Count {
  first;
  #left = Number.POSITIVE_INFINITY;
  #done = () => {};

  until(count) {
    this.first = undefined;
    this.#left = count;
    return new Promise((resolve) => (this.#done = resolve));
  }

  add = () => {
    this.first ??= performance.now();
    if (--this.#left === 0) this.#done(performance.now());
  };
}

const ours = {
  async load() {
    const [core, iroh, hub, spoke] = await Promise.all(
      ['index', 'iroh', 'event-target-iroh-hub', 'event-target-iroh-spoke'].map((name) => at(`dist/${name}.js`)),
    );
    return { ...core, ...iroh, ...hub, ...spoke };
  },

  async hub(lib, onEvent) {
    const endpoint = await lib.Endpoint.createWithOptions({ bind: '127.0.0.1:0' });
    const hub = await lib.createIrohHubEventTarget({ endpoint, limits: { handshakeMs: 60_000 } });
    hub.addEventListener('b:x', ({ detail }) => onEvent(detail.payload));
    return {
      address: endpoint.ticket(),
      connections: () => hub.subscribers('b:x'),
      publish: publisher(lib, hub),
      flush: () => hub.flush(),
    };
  },

  async spokes(lib, address, count, onEvent) {
    const endpoints = await Promise.all(
      Array.from({ length: Math.ceil(count / 10) }, () => lib.Endpoint.createWithOptions({ bind: '127.0.0.1:0' })),
    );
    const made = Array.from({ length: count }, async (_, n) => {
      const endpoint = endpoints[n % endpoints.length];
      const spoke = await lib.createIrohSpokeEventTarget({ endpoint, hubNodeId: address });
      spoke.addEventListener('b:x', ({ detail }) => onEvent(detail.payload));
      await spoke.ready('b:x');
      return { publish: publisher(lib, spoke), flush: () => spoke.flush() };
    });
    return Promise.all(made);
  },
};

/** A publish that waits when a megabyte waits. */
function publisher(lib, target) {
  return (payload) => {
    target.dispatchEvent(lib.createEvent('b', 'x', payload));
    return target.bufferedAmount > 2 ** 20 ? target.flush() : undefined;
  };
}

const ALPN = [...Buffer.from('bench/1')];

const official = {
  load: () => import('@number0/iroh'),

  async endpoint(lib) {
    const builder = lib.Endpoint.builder();
    builder.applyMinimal();
    builder.relayMode(lib.RelayMode.disabled());
    builder.bindAddr('127.0.0.1:0');
    builder.alpns([ALPN]);
    return builder.bind();
  },

  async hub(lib, onEvent) {
    const endpoint = await official.endpoint(lib);
    const streams = [];
    const accept = async () => {
      for (;;) {
        const incoming = await endpoint.acceptNext();
        if (!incoming) return;
        serve(incoming);
      }
    };
    const serve = async (incoming) => {
      const connection = await (await incoming.accept()).connect();
      const { send, recv } = await connection.acceptBi();
      const first = JSON.parse(await readFrame(recv));
      if (first.type === '__subscribe') streams.push({ send, connection });
      readAll(recv, onEvent);
    };
    accept();
    return {
      address: JSON.stringify({ id: endpoint.id().toString(), sockets: endpoint.boundSockets() }),
      connections: () => streams.length,
      publish: (payload) => {
        const bytes = frameOf(JSON.stringify({ type: 'b', id: 'x', payload }));
        return Promise.all(streams.map(({ send }) => send.writeAll(bytes)));
      },
      flush: () => {},
    };
  },

  async spokes(lib, address, count, onEvent) {
    const { id, sockets } = JSON.parse(address);
    const endpoints = await Promise.all(Array.from({ length: Math.ceil(count / 10) }, () => official.endpoint(lib)));
    const to = new lib.EndpointAddr(lib.EndpointId.fromString(id), null, sockets);
    const made = Array.from({ length: count }, async (_, n) => {
      const connection = await endpoints[n % endpoints.length].connect(to, ALPN);
      const { send, recv } = await connection.openBi();
      await send.writeAll(frameOf(JSON.stringify({ type: '__subscribe', id: '', payload: { topic: 'b:x' } })));
      readAll(recv, onEvent);
      return {
        connection,
        publish: (payload) => send.writeAll(frameOf(JSON.stringify({ type: 'b', id: 'x', payload }))),
        flush: () => {},
      };
    });
    return Promise.all(made);
  },
};

/** What this binding takes: an array of numbers. */
function frameOf(text) {
  const body = Buffer.from(text);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return [...head, ...body];
}

async function readFrame(recv) {
  const head = Buffer.from(await recv.readExact(4));
  return Buffer.from(await recv.readExact(head.readUInt32BE())).toString();
}

async function readAll(recv, onEvent) {
  for (;;) onEvent(JSON.parse(await readFrame(recv)).payload);
}

/** Frames of the same size in Rust: no JSON, no JavaScript. */
const rust = {
  async load() {
    return {
      binding: (await at('loader.cjs')).default,
      iroh: await at('dist/iroh.js'),
      native: await at('dist/iroh-native.js'),
    };
  },
  operate: (start) =>
    new Promise((resolve, reject) => {
      const operation = start(({ code, message }) => {
        if (code) reject(new Error(message));
        else resolve(operation.takeBytes()?.toString());
      });
    }),
};

const isRust = variant === 'Rust alone';
const kind = { 'this package': ours, 'official binding': official }[variant] ?? rust;
const lib = await kind.load();
setInterval(() => {}, 2 ** 30);

const count = new Count();
let echo = () => {};
const heard = (payload) => {
  count.add();
  echo(payload);
};
let hub;
let spokes;
let endpoint;

const commands = {
  async hub() {
    if (isRust) {
      endpoint = (await lib.iroh.Endpoint.createWithOptions({ bind: '127.0.0.1:0' })).ref();
      return { address: endpoint.ticket() };
    }
    hub = await kind.hub(lib, heard);
    return { address: hub.address };
  },
  async spokes({ address, spokes: wanted = 1 }) {
    if (isRust) {
      endpoint = (await lib.iroh.Endpoint.createWithOptions({ bind: '127.0.0.1:0' })).ref();
      return {};
    }
    spokes = await kind.spokes(lib, address, wanted, heard);
    return {};
  },
  async connected({ spokes: wanted }) {
    while (hub.connections() < wanted) await new Promise((resolve) => setTimeout(resolve, 5));
    return {};
  },
  /** Receives so many events: milliseconds from the first to the last. */
  async receive({ events }) {
    if (isRust) {
      const native = lib.native.nativeOf(endpoint);
      return { ms: Number(await rust.operate((done) => lib.binding.benchIrohReceive(native, events, done))) };
    }
    const last = await count.until(events);
    return { ms: last - count.first };
  },
  async send({ events, size, address }) {
    if (isRust) {
      const native = lib.native.nativeOf(endpoint);
      await rust.operate((done) => lib.binding.benchIrohSend(native, address, size, events, done));
      return {};
    }
    const [{ publish, flush }] = spokes ?? [hub];
    const payload = payloadOf(size);
    for (let n = 0; n < events; n++) await publish(payload);
    await flush();
    return {};
  },
  async fanOut({ events, size }) {
    const payload = payloadOf(size);
    for (let n = 0; n < events; n++) await hub.publish(payload);
    await hub.flush();
    return {};
  },
  async echo() {
    if (isRust) {
      const native = lib.native.nativeOf(endpoint);
      rust.operate((done) => lib.binding.benchIrohEcho(native, done)).catch(() => {});
    } else echo = (payload) => hub.publish(payload);
    return {};
  },
  /** Microseconds of each round trip. */
  async trips({ events, size, address }) {
    if (isRust) {
      const native = lib.native.nativeOf(endpoint);
      const text = await rust.operate((done) => lib.binding.benchIrohTrips(native, address, size, events, done));
      return { trips: text.split(' ').map(Number) };
    }
    const payload = payloadOf(size);
    const trips = [];
    for (let n = 0; n < events; n++) {
      const back = new Promise((resolve) => (echo = resolve));
      const start = performance.now();
      spokes[0].publish(payload);
      await back;
      trips.push((performance.now() - start) * 1000);
    }
    return { trips };
  },
};

/** Both ends in this process. */
async function both({ events, size }) {
  if (isRust) {
    const there = (await lib.iroh.Endpoint.createWithOptions({ bind: '127.0.0.1:0' })).ref();
    const here = (await lib.iroh.Endpoint.createWithOptions({ bind: '127.0.0.1:0' })).ref();
    const [to, from] = [lib.native.nativeOf(there), lib.native.nativeOf(here)];
    const received = rust.operate((done) => lib.binding.benchIrohReceive(to, events, done));
    await rust.operate((done) => lib.binding.benchIrohSend(from, there.ticket(), size, events, done));
    return { ms: Number(await received) };
  }
  await commands.hub();
  await commands.spokes({ address: hub.address });
  await commands.connected({ spokes: 1 });
  const done = count.until(events);
  const start = performance.now();
  await commands.send({ events, size });
  return { ms: (await done) - start };
}

process.on('message', async ({ command, ...rest }) => {
  const run = command === 'both' ? both : commands[command];
  try {
    process.send({ command, ...(await run(rest)) });
  } catch (error) {
    process.send({ command, error: error.stack });
  }
});
process.on('disconnect', () => process.exit());
process.send({ command: 'ready', role });
