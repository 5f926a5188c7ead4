// A worker of each kind that the runtime has, talked to by worker targets and over the process bus, then terminated. Run by smoke.test.mjs
// in Node.js, Deno and Bun, as smoke.mjs is. Ends by itself with exit code 0.
import { Worker as ThreadWorker } from 'node:worker_threads';
import { createEvent } from '@alkdev/pubsub-native';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { createWorkerHostEventTarget, createWorkerThreadEventTarget } from '@alkdev/pubsub-native/event-target-worker';

const kinds = { threads: ThreadWorker, ...(typeof Worker === 'function' ? { web: Worker } : {}) };
const payload = { text: 'gr\u00fc\u00df dich \u{1f600}', gone: undefined };
const next = (target, name) =>
  new Promise((resolve) => target.addEventListener(name, (event) => resolve(event.detail), { once: true }));
const result = { outside: codeOf(createWorkerThreadEventTarget) };

for (const [kind, Kind] of Object.entries(kinds)) {
  const bus = createProcessEventTarget('smoke');
  const worker = new Kind(new URL('threads-worker.mjs', import.meta.url), { type: 'module' });
  const host = createWorkerHostEventTarget(worker);
  const [answer, news] = [next(host, 'answer:1'), next(bus, 'news:1')];
  await host.ready('answer:1');
  host.dispatchEvent(createEvent('question', '1', payload));
  const heard = { answer: (await answer).payload, news: (await news).payload };
  await worker.terminate();
  const { code } = await host.closed;
  await bus.close();
  result[kind] = { ...heard, code };
}
console.log(JSON.stringify(result));

function codeOf(act) {
  try {
    act();
    return 'no error';
  } catch (error) {
    return error.code;
  }
}
