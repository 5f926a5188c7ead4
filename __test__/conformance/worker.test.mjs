// Worker targets in the conformance suite: a worker thread and its host, both ways round.
import { MessageChannel } from 'node:worker_threads';
import { createWorkerHostEventTarget } from '../../dist/event-target-worker.js';
import { startRemote } from '../threads/remote-target.mjs';
import { conformance } from './index.mjs';

const capabilities = { transport: true, echo: false, acknowledges: true };

async function makeThreads() {
  const { worker, target, close } = startRemote({ kind: 'worker' });
  const host = createWorkerHostEventTarget(worker);
  await Promise.all([host.ready(), target.begin('ready')]);
  return { host, target, close: () => host.close().then(close) };
}

conformance(
  'worker targets, the host publishes',
  async () => {
    const { host, target, close } = await makeThreads();
    return { a: host, b: target, close };
  },
  capabilities,
);

/** Both ends of a channel, in one thread: what a thread at the other end hides, such as whose object an event is. */
async function makeChannel() {
  const { port1, port2 } = new MessageChannel();
  const [a, b] = [port1, port2].map((port) => createWorkerHostEventTarget(port));
  const close = async () => {
    await Promise.all([a.close(), b.close()]);
    port1.close();
  };
  return { a, b, close };
}

conformance('worker targets over a channel', makeChannel, capabilities);
