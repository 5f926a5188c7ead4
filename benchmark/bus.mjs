// How fast events pass between threads: the process bus and worker targets against what the platform has. `npm run bench:bus`.
// All variants alternate in one run; figures are deliveries per second and processor time of the whole process per delivery, medians over the
// rounds. On a machine that does other things as well, the second says more. Whoever has no flow control of its own
// gets one: a window of events, credited by the receivers, so that no variant wins by filling memory.

import { cpus } from 'node:os';
import { Worker } from 'node:worker_threads';
import { median, spread, table } from './measure.mjs';
import { setUpPackage } from './setup.mjs';

const ROUNDS = 5;
/** Events of one publisher in one round. */
const EVENTS = 500_000;
const VARIANTS = [
  'process bus',
  'worker target',
  'postMessage, objects',
  'postMessage, strings',
  'BroadcastChannel, objects',
];
const SHAPES = [
  { name: '1 → 1', publishers: 1, listeners: 1 },
  { name: '1 → 3', publishers: 1, listeners: 3 },
  { name: '3 ↔ 3', publishers: 3, listeners: 3 },
];

const folder = setUpPackage();
console.log(
  `Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, ${ROUNDS} rounds of ${EVENTS} events per publisher, envelopes of 200 bytes\n`,
);
for (const shape of SHAPES) await compare(shape);

async function compare(shape) {
  const variants = VARIANTS.filter((variant) => isPossible(variant, shape));
  const results = Object.fromEntries(variants.map((variant) => [variant, []]));
  for (let round = -1; round < ROUNDS; round++) {
    for (const variant of variants) {
      const result = await once(variant, shape, round);
      if (round >= 0) results[variant].push(result);
    }
  }
  const all = (variant, figure) => results[variant].map((result) => result[figure]);
  const ratio = (variant, figure) => median(all(variants[0], figure)) / median(all(variant, figure));
  console.log(`${shape.name}: thousand deliveries per second, µs of processor per delivery; median (smallest–largest)`);
  console.log(
    table(
      variants.map((variant) => ({
        variant,
        'k/s': spread(all(variant, 'rate')),
        µs: spread(all(variant, 'cpu'), 2),
        'k/s, bus ÷ this': ratio(variant, 'rate').toFixed(2),
        'µs, this ÷ bus': (1 / ratio(variant, 'cpu')).toFixed(2),
      })),
    ),
  );
  console.log();
}

/** A worker target has two ends. */
function isPossible(variant, { publishers, listeners }) {
  return variant !== 'worker target' || publishers + listeners === 2;
}

/** One round: threads start, say that they are ready, run, and say that they have everything. */
async function once(variant, { name, publishers, listeners }, round) {
  const isMesh = name.includes('↔');
  const roles = isMesh
    ? Array.from({ length: publishers }, () => 'both')
    : [...Array.from({ length: publishers }, () => 'publish'), ...Array.from({ length: listeners }, () => 'listen')];
  const from = publishers;
  const channel = `bench ${name} ${variant} ${round}`;
  const workers = roles.map((role, number) => {
    const workerData = {
      folder,
      variant,
      role,
      number,
      from,
      threads: roles.length,
      listeners,
      events: EVENTS,
      channel,
      isMesh,
    };
    return new Worker(new URL('bus-thread.mjs', import.meta.url), { workerData });
  });
  connect(workers);
  const all = (word) => Promise.all(workers.map((worker) => said(worker, word)));
  await all('ready');
  const done = all('done');
  const [began, cpuBefore] = [performance.now(), process.cpuUsage()];
  for (const worker of workers) worker.postMessage({ go: true });
  await done;
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(cpuBefore);
  await Promise.all(workers.map((worker) => worker.terminate()));
  const deliveries = EVENTS * (isMesh ? publishers * (publishers - 1) : publishers * listeners);
  return { rate: deliveries / ms, cpu: (user + system) / deliveries };
}

/** A channel between any two: what postMessage needs and a bus has. */
function connect(workers) {
  for (let i = 0; i < workers.length; i++) {
    for (let j = i + 1; j < workers.length; j++) {
      const { port1, port2 } = new MessageChannel();
      workers[i].postMessage({ peer: j, port: port1 }, [port1]);
      workers[j].postMessage({ peer: i, port: port2 }, [port2]);
    }
  }
}

function said(worker, word) {
  return new Promise((resolve, reject) => {
    worker.on('message', (message) => message === word && resolve());
    worker.on('error', reject);
  });
}
