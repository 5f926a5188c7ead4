// One thread of bus.mjs: publishes, listens or does both, by the variant that it is told. workerData: see `once` there.

import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';

const { folder, variant, role, number, from, threads, listeners, events, channel, isMesh } = workerData;
const TYPE = 'bench.event';
/** Events that a publisher without a flow control of its own may have under way. */
const WINDOW = 4096;
/** So often a listener says how far it is. */
const CREDIT = 512;
const BYTES = 1 << 20;
/** A publisher looks whether it is too fast once in so many events: asking the bus costs a call into the addon. */
const LOOK = 64;
const empty = JSON.stringify({ type: TYPE, id: '1', payload: { n: 1234567, text: '' } }).length;
const text = 'x'.repeat(200 - empty);
const at = (path) => import(pathToFileURL(`${folder}/dist/${path}`).href);
const publishes = role !== 'listen';
const listens = role !== 'publish';
/** Everything that this thread will hear. */
const expected = listens ? (isMesh ? from - 1 : from) * events : 0;

const ports = new Map();
let wake = () => {};
let heard = 0;
let heardAll;
const everything = new Promise((resolve) => (heardAll = resolve));
if (expected === 0) heardAll();

await connected();
const way = await makeWay();
parentPort.postMessage('ready');
await new Promise((resolve) => parentPort.once('message', resolve));
if (publishes) await publish();
await everything;
parentPort.postMessage('done');
// Until it is terminated: the others may still need it.
setInterval(() => {}, 1 << 30);

/** All channels to the other threads have come. */
function connected() {
  return new Promise((resolve) => {
    const take = ({ peer, port }) => {
      ports.set(peer, port);
      if (ports.size < threads - 1) return;
      parentPort.off('message', take);
      resolve();
    };
    parentPort.on('message', take);
  });
}

function count(n) {
  if (typeof n !== 'number') throw new Error('a wrong event');
  if (++heard === expected) heardAll();
}

async function publish() {
  for (let n = 0; n < events; n++) {
    way.send({ type: TYPE, id: '1', payload: { n, text } });
    if (n % LOOK === 0 && way.isFull()) await way.room();
  }
}

function makeWay() {
  if (variant === 'process bus') return processBus();
  if (variant === 'worker target') return workerTarget();
  if (variant.startsWith('BroadcastChannel')) return broadcast();
  return messages(variant.endsWith('strings'));
}

async function processBus() {
  const [{ createEvent }, { createProcessEventTarget }] = [await at('index.js'), await at('event-target-process.js')];
  return overTarget(createProcessEventTarget(channel), createEvent);
}

/** The two ends of a channel: what a worker and its host have. */
async function workerTarget() {
  const [{ createEvent }, { createWorkerHostEventTarget }] = [await at('index.js'), await at('event-target-worker.js')];
  const [port] = ports.values();
  return overTarget(createWorkerHostEventTarget(port), createEvent);
}

async function overTarget(target, createEvent) {
  if (listens) {
    target.addEventListener(`${TYPE}:1`, ({ detail }) => count(detail.payload.n));
    target.addEventListener('gap', () => {
      throw new Error('events were lost');
    });
    await target.ready(`${TYPE}:1`);
  }
  await target.ready();
  return {
    send: ({ type, id, payload }) => target.dispatchEvent(createEvent(type, id, payload)),
    isFull: () => target.bufferedAmount > BYTES,
    room: () => target.drain(),
  };
}

/** Credit by listener: the slowest counts. */
function windowed(send, credits) {
  let sent = 0;
  const isFull = () => sent - Math.min(...credits.values()) >= WINDOW;
  return {
    send: (envelope) => {
      sent++;
      send(envelope);
    },
    isFull,
    room: async () => {
      while (isFull()) await new Promise((resolve) => (wake = resolve));
    },
  };
}

function isListener(peer) {
  return isMesh || peer >= threads - listeners;
}

function messages(asText) {
  const credits = new Map();
  for (const [peer, port] of ports) {
    let heardOfPeer = 0;
    if (publishes && isListener(peer)) credits.set(peer, 0);
    port.on('message', (message) => {
      if (typeof message === 'number') {
        credits.set(peer, message);
        return wake();
      }
      count((asText ? JSON.parse(message) : message).payload.n);
      if (++heardOfPeer % CREDIT === 0) port.postMessage(heardOfPeer);
    });
  }
  const listening = [...credits.keys()].map((peer) => ports.get(peer));
  return windowed((envelope) => {
    const message = asText ? JSON.stringify(envelope) : envelope;
    for (const port of listening) port.postMessage(message);
  }, credits);
}

/** Credit goes by the channels between two, as everybody would hear it. */
function broadcast() {
  const credits = new Map();
  const heardOf = new Map();
  const bus = new BroadcastChannel(channel);
  bus.onmessage = ({ data: { sender, envelope } }) => {
    if (!listens) return;
    count(envelope.payload.n);
    const heardOfSender = (heardOf.get(sender) ?? 0) + 1;
    heardOf.set(sender, heardOfSender);
    if (heardOfSender % CREDIT === 0) ports.get(sender).postMessage(heardOfSender);
  };
  for (const [peer, port] of ports) {
    if (publishes && isListener(peer)) credits.set(peer, 0);
    port.on('message', (message) => {
      credits.set(peer, message);
      wake();
    });
  }
  return windowed((envelope) => bus.postMessage({ sender: number, envelope }), credits);
}
