// Trips from one JavaScript client to another through a relaying hub, a fixed number under way: both ends are the peer's own clients.
// Arguments: peer, address of the hub, depth, folder of the package. Command: { command: "trip", ms }.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [peer, address, depth, folder] = process.argv.slice(2);
const TEXT = 'x'.repeat(150);

/** Each: subscribes one client to `bench:answer`, and gives another's way to publish there. */
const makers = {
  async ours(hear) {
    const at = (path) => import(pathToFileURL(`${folder}/dist/${path}`).href);
    const { createEvent } = await at('index.js');
    const { createWebSocketClientEventTarget } = await at('event-target-websocket-client.js');
    const [there, back] = [0, 1].map(() => createWebSocketClientEventTarget(`ws://${address}`));
    back.addEventListener('bench:answer', () => hear());
    await Promise.all([there.ready(), back.ready('bench:answer')]);
    return () => there.dispatchEvent(createEvent('bench', 'answer', TEXT));
  },
  async ws(hear) {
    const { WebSocket } = await import('ws');
    return plain(WebSocket, hear);
  },
  bun: (hear) => plain(WebSocket, hear),
  async socketio(hear) {
    const { io } = await import('socket.io-client');
    const [there, back] = [0, 1].map(() => io(`ws://${address}`, { transports: ['websocket'], forceNew: true }));
    await Promise.all([there, back].map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    back.on('event', (envelope) => hear(envelope));
    back.emit('subscribe', 'bench:answer');
    return () => there.emit('event', { type: 'bench', id: 'answer', payload: TEXT });
  },
};

async function plain(Client, hear) {
  const [there, back] = [0, 1].map(() => new Client(`ws://${address}`));
  await Promise.all([there, back].map((socket) => new Promise((resolve) => socket.addEventListener('open', resolve))));
  const listeners = new Map([['bench:answer', hear]]);
  back.onmessage = ({ data }) => {
    const envelope = JSON.parse(data);
    listeners.get(`${envelope.type}:${envelope.id}`)?.(envelope);
  };
  back.send(JSON.stringify({ type: '__subscribe', id: '', payload: { topic: 'bench:answer' } }));
  return () => there.send(JSON.stringify({ type: 'bench', id: 'answer', payload: TEXT }));
}

let heard = () => {};
const publish = await makers[peer](() => heard());

function trips(ms) {
  const began = performance.now();
  const sent = [];
  const took = [];
  const send = () => {
    sent.push(performance.now());
    publish();
  };
  return new Promise((resolve) => {
    heard = () => {
      const now = performance.now();
      took.push((now - sent[took.length]) * 1000);
      if (now - began < ms) return send();
      if (took.length === sent.length) resolve(describe(took, now - began));
    };
    for (let n = 0; n < Number(depth); n++) send();
  });
}

function describe(took, ms) {
  const sorted = Float64Array.from(took).sort();
  const at = (part) => sorted[Math.floor((sorted.length - 1) * part)];
  return { trips: took.length, ms, p50us: at(0.5), p99us: at(0.99) };
}

const answer = (fields) => process.stdout.write(`${JSON.stringify(fields)}\n`);
createInterface({ input: process.stdin })
  .on('line', async (line) => answer(await trips(JSON.parse(line).ms)))
  .on('close', () => process.exit());
answer({});
