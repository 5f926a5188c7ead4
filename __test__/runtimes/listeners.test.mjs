// Random steps on our listener table and on each runtime's own EventTarget.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { seedFor } from '../core/random.mjs';
import { inEachRuntime, root } from './runtimes.mjs';

inEachRuntime('our listener table is like the EventTarget', ['--allow-read'], async (start, t) => {
  const seed = seedFor(t);
  const { code, stdout, stderr } = await start([join('__test__', 'runtimes', 'listeners.mjs'), String(seed)], root);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.equal(stdout.trim(), `listeners alike, SEED=${seed}`);
});
