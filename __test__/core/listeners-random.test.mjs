// Our listener table against others, step by random step; in Deno and Bun: ../runtimes/listeners.test.mjs.
import { test } from 'node:test';
import { compareWithRuntime, compareWithStandard } from './listeners-random.mjs';
import { seedFor } from './random.mjs';

test('random steps look as on the runtime’s own EventTarget', (t) => compareWithRuntime(seedFor(t)));

test('random steps, additions while dispatching among them, look as the DOM standard says', (t) =>
  compareWithStandard(seedFor(t)));
