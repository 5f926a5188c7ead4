// The memory target in the conformance suite: both ends of the pair are one target.
import { createMemoryEventTarget } from '../../dist/index.js';
import { conformance } from './index.mjs';

async function makePair() {
  const target = createMemoryEventTarget();
  return { a: target, b: target, close: () => target.close() };
}

conformance('the memory target', makePair, { transport: false, echo: true, acknowledges: true });
