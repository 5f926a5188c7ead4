// What a connection costs by the way it got to the hub: listening, attached by descriptor, attached with pumped bytes; and `ws` with a router of
// a page beside it. `npm run bench:attach -- [rounds [part of a title [variant,variant]]]`. Variants alternate in one run; figures are medians over the rounds, smallest and largest in
// brackets. The clients are processes of their own, on the same processors.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises';
import { WebSocketServer } from 'ws';
import { median, spread, table, threadCpuNs } from './measure.mjs';
import { loadClient, setUp } from './setup.mjs';

const [rounds = '5', part = '', only = ''] = process.argv.slice(2);
const ROUNDS = Number(rounds);
const SUBSCRIBERS = 100;
const EVENTS = 3200;
/** How long events go round, in milliseconds. */
const ROUND_MS = 1500;

const api = await setUp();
const envelope = {
  type: 'bench',
  id: 't0',
  payload: 'x'.repeat(200 - JSON.stringify({ type: 'bench', id: 't0', payload: '' }).length),
};
const variants = {
  listening: () => hubOf({ listen: { port: 0 } }),
  adopted: () => attachedHub({}),
  pumped: () => attachedHub({ adopt: false }),
  ws: libraryServer,
};

console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, ${ROUNDS} rounds, events of 200 bytes\n`);
await report(
  'Two pairs of clients pass events to each other, 32 under way each way',
  (make) => circulate(make, 4, 32),
  {
    'events/s': [({ rate }) => rate, 0],
    'µs of the process': [({ processUs }) => processUs, 2],
    'µs of the JavaScript thread': [({ threadUs }) => threadUs, 2],
  },
);
await report('One pair, one event under way each way', (make) => circulate(make, 2, 1), {
  'events/s': [({ rate }) => rate, 0],
  'µs of the process': [({ processUs }) => processUs, 2],
});
for (const burst of [1, 16]) {
  await report(`One event to ${SUBSCRIBERS} clients, ${burst} per turn`, (make) => fanOut(make, burst), {
    'deliveries/s': [({ rate }) => rate, 0],
    'µs of the process': [({ processUs }) => processUs, 2],
    'µs of the JavaScript thread': [({ threadUs }) => threadUs, 2],
  });
}
process.exit(0);

async function report(title, run, columns) {
  if (!title.includes(part)) return;
  const asked = Object.entries(variants).filter(([name]) => only === '' || only.split(',').includes(name));
  const results = Object.fromEntries(asked.map(([name]) => [name, []]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, make] of asked) {
      const result = await run(make);
      if (round >= 0) results[name].push(result);
    }
  }
  const base = median((results.listening ?? results[asked[0][0]]).map(({ rate }) => rate));
  const rows = Object.entries(results).map(([variant, rounds]) => ({
    variant,
    ...Object.fromEntries(
      Object.entries(columns).map(([name, [read, digits]]) => [name, spread(rounds.map(read), digits)]),
    ),
    'rate ÷ first': (median(rounds.map(({ rate }) => rate)) / base).toFixed(2),
  }));
  console.log(`${title}\n${table(rows)}\n`);
}

// ---- Servers ---------------------------------------------------------------------------------------------------------------------

async function hubOf(options) {
  const hub = api.createWebSocketServerEventTarget({ relay: true, ...options });
  await hub.ready();
  return {
    address: hub.address === null ? undefined : `${hub.address.host}:${hub.address.port}`,
    hub,
    subscribers: (topic) => hub.subscribers(topic),
    publish: () => hub.dispatchEvent(api.createEvent(envelope.type, envelope.id, envelope.payload)),
    settle: () => hub.flush(),
    close: () => hub.close({ timeoutMs: 500 }),
  };
}

async function attachedHub(options) {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const made = await hubOf({});
  made.hub.attach(server, options);
  const close = async () => {
    await made.close();
    server.close();
  };
  return { ...made, address: `127.0.0.1:${server.address().port}`, close };
}

/** What a page of JavaScript over `ws` does: knows topics, sends the text on. */
async function libraryServer() {
  const topics = new Map();
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false });
  server.on('connection', (socket) => {
    socket.on('message', (data) => {
      const text = data.toString();
      const { type, id, payload } = JSON.parse(text);
      if (type === '__subscribe') return topics.set(payload.topic, [...(topics.get(payload.topic) ?? []), socket]);
      for (const other of topics.get(`${type}:${id}`) ?? []) if (other !== socket) other.send(text);
    });
  });
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${server.address().port}`,
    subscribers: (topic) => topics.get(topic)?.length ?? 0,
    publish() {
      const text = JSON.stringify(envelope);
      for (const socket of topics.get('bench:t0')) socket.send(text);
    },
    async settle() {
      while ([...server.clients].some(({ bufferedAmount }) => bufferedAmount > 65_536)) await turn();
    },
    async close() {
      for (const socket of server.clients) socket.terminate();
      server.close();
    },
  };
}

// ---- Loads -----------------------------------------------------------------------------------------------------------------------

async function circulate(make, connections, window) {
  const server = await make();
  const load = await startLoad(server, connections, connections, window);
  await load.ask();
  await pause(200);
  const before = await load.ask();
  const clocks = start();
  await pause(ROUND_MS);
  const after = await load.ask();
  const result = clocks.per(after.frames - before.frames);
  load.stop();
  await server.close();
  if (after.lost > 0) throw new Error(`${after.lost} connections were lost`);
  return result;
}

async function fanOut(make, burst) {
  const server = await make();
  const load = await startLoad(server, SUBSCRIBERS, 1, 0);
  const clocks = start();
  for (let sent = 0; sent < EVENTS; ) {
    for (let i = 0; i < burst; i++, sent++) server.publish();
    await turn();
    if (sent % 64 === 0) await server.settle();
  }
  await load.received(EVENTS * SUBSCRIBERS);
  const result = clocks.per(EVENTS * SUBSCRIBERS);
  load.stop();
  await server.close();
  return result;
}

function start() {
  const [began, thread, whole] = [performance.now(), threadCpuNs(), process.cpuUsage()];
  return {
    per(count) {
      const { user, system } = process.cpuUsage(whole);
      const seconds = (performance.now() - began) / 1000;
      return {
        rate: count / seconds,
        processUs: (user + system) / count,
        threadUs: (threadCpuNs() - thread) / 1000 / count,
      };
    },
  };
}

async function startLoad(server, connections, topics, window) {
  const args = [server.address, String(connections), String(topics), String(window)];
  const child = spawn(loadClient, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const ask = async () => {
    child.stdin.write('\n');
    const [line] = await once(lines, 'line');
    return JSON.parse(line);
  };
  for (let topic = 0; topic < topics; topic++) {
    while (server.subscribers(`bench:t${topic}`) < connections / topics) await turn();
  }
  return {
    ask,
    async received(frames) {
      const deadline = Date.now() + 60_000;
      for (let counts = await ask(); counts.frames < frames; counts = await ask()) {
        if (Date.now() > deadline) throw new Error(`${counts.frames} of ${frames} frames came`);
        await turn();
      }
    },
    stop: () => child.kill(),
  };
}
