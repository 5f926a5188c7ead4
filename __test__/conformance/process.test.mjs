// The process bus in the conformance suite: two members in one thread, and one here and one in a worker.
import { createProcessEventTarget } from '../../dist/event-target-process.js';
import { startRemote } from '../threads/remote-target.mjs';
import { conformance } from './index.mjs';

const capabilities = { transport: true, echo: false, acknowledges: true };
let pairs = 0;

async function makePair() {
  const name = `pair ${++pairs}`;
  const [a, b] = [createProcessEventTarget(name), createProcessEventTarget(name)];
  return { a, b, close: () => Promise.all([a.close(), b.close()]) };
}

conformance('the process bus, two members in one thread', makePair, capabilities);

async function makeThreads() {
  const name = `threads ${++pairs}`;
  const own = createProcessEventTarget(name);
  const { target, close } = startRemote({ kind: 'process', name });
  await Promise.all([own.ready(), target.begin('ready')]);
  return { a: own, b: target, close: () => Promise.all([own.close(), close()]) };
}

conformance('the process bus, a member here and one in a worker', makeThreads, capabilities);
