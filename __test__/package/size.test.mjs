// What the package costs a page: `npm run size` prints it and knows the bounds.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { measure } from '../../scripts/size.mjs';

test('bundles stay within their bounds, hold nothing that was not asked for, and docs/browser.md has their sizes', async (t) => {
  const { sizes, added } = await measure();
  const page = readFileSync(new URL('../../docs/browser.md', import.meta.url), 'utf8');
  for (const { name, gzip } of sizes) t.diagnostic(`${name}: ${gzip} bytes`);
  const documented = [...page.matchAll(/^\| .+ \| ([\d.]+) KB \|$/gm)].map(([, kilobytes]) => Number(kilobytes));
  const [, pubsub, core, spoke, both] = sizes.map(({ gzip }) => gzip);
  const measured = [pubsub, core, spoke, both, added.gzip];
  assert.equal(documented.length, measured.length);
  // Other parts may grow a little before the page is written anew.
  for (const [i, bytes] of measured.entries()) assert(Math.abs(documented[i] - bytes / 1000) < 0.5, `${bytes}`);
});
