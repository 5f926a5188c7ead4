// docs/conformance.md is written by a run; that it is about the suite as it is now can be seen without one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { pageOf } from '../../scripts/conformance.mjs';

test('docs/conformance.md has the cases and targets of the suite, and every empty cell says why', () => {
  const page = readFileSync(new URL('../../docs/conformance.md', import.meta.url), 'utf8');
  assert.equal(page, pageOf(), 'run "npm run conformance -- --write"');
  assert.doesNotMatch(page, /– \?/);
});
