// The spokes of benchmark/slow-reader.mjs: each listens in JavaScript and checks that the numbers come one by one.
// Argument: JSON of { url, count, events }. Says how many spokes have everything, when all have, or when nothing has come for a while.
import { importAll } from './setup.mjs';

const { url, count, events } = JSON.parse(process.argv[2]);
const { createWebSocketClientEventTarget } = await importAll();
const QUIET_MS = 5000;

const heard = new Array(count).fill(0);
let lastAt = performance.now();

const spokes = heard.map((_, index) => {
  const spoke = createWebSocketClientEventTarget(url);
  spoke.addEventListener('bench:t0', ({ detail: { payload } }) => {
    if (payload[0] === heard[index]) heard[index]++;
  });
  spoke.addEventListener('gap', ({ detail }) => console.error(`spoke ${index}: gap, ${detail.cause}`));
  return spoke;
});

process.on('disconnect', () => process.exit(1));
await Promise.all(spokes.map((spoke) => spoke.ready('bench:t0')));
process.send({ kind: 'ready' });

let before = 0;
const timer = setInterval(() => {
  const complete = heard.filter((number) => number === events).length;
  const total = heard.reduce((sum, number) => sum + number, 0);
  if (total !== before) [before, lastAt] = [total, performance.now()];
  const isQuiet = total > 0 && performance.now() - lastAt > QUIET_MS;
  if (complete < count && !isQuiet) return;
  clearInterval(timer);
  process.send({ kind: 'heard', complete });
}, 10);
