// Hubs in threads of their own, joined by a bus of the process: a spoke of each publishes numbered events, a spoke of each hears all others.
// Usage: node examples/backplane/main.mjs [hubs] [events]. Exit code 0: everybody has heard everything, once and in order.
import { Worker } from 'node:worker_threads';

const [hubs = 5, events = 10_000] = process.argv.slice(2).map(Number);
const script = new URL('worker.mjs', import.meta.url);

/** What each thread says next, once all have said it. */
const all = (workers) =>
  Promise.all(
    workers.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.once('message', resolve);
          worker.once('error', reject);
        }),
    ),
  );

const workers = Array.from(
  { length: hubs },
  (_, number) => new Worker(script, { workerData: { number, hubs, events } }),
);
await all(workers);
console.log(`${hubs} hubs in ${hubs} threads, ${events} events from a spoke of each`);

/** Lets all go on; what they say next. */
const goOn = () => {
  const said = all(workers);
  for (const worker of workers) worker.postMessage('go on');
  return said;
};

await goOn();
const results = await goOn();
for (const { number, url, got, wrong, gaps, stats } of results) {
  const { backplanePublished, backplaneReceived, backplaneDropped } = stats;
  console.log(`hub ${number} at ${url}: its spoke heard ${got}, ${wrong} out of order, ${gaps} gaps`);
  console.log(`  to other hubs ${backplanePublished}, from them ${backplaneReceived}, dropped ${backplaneDropped}`);
}

for (const worker of workers) worker.postMessage('go on');
await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve))));
const expected = (hubs - 1) * events;
const isComplete = results.every(({ got, wrong, gaps }) => got === expected && wrong === 0 && gaps === 0);
console.log(isComplete ? 'everybody has everything' : 'something is missing');
process.exitCode = isComplete ? 0 : 1;
