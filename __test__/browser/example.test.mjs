// examples/browser as a user starts it, with two tabs of a real Chromium: what is typed in one is seen in the other, also after the hub was away.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { within } from '../websocket/facts.mjs';
import { openPage, startChromium, withoutChromium } from './chromium.mjs';

const server = fileURLToPath(new URL('../../examples/browser/server.mjs', import.meta.url));

/** Starts the server on a free port; the address that it prints. */
async function startServer(t) {
  const child = spawn(process.execPath, [server, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const address = new Promise((resolve) => {
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
      const found = /http:\S+/.exec(text);
      if (found !== null) resolve(found[0]);
    });
  });
  return within(address, 'the example prints its address');
}

test('what is typed in one tab is seen in the other, with state, rate and gaps', {
  skip: withoutChromium,
  timeout: 120_000,
}, async (t) => {
  const url = await startServer(t);
  const context = await startChromium(t);
  const first = await openPage(t, context, url);
  const second = await openPage(t, context, url);
  for (const { page } of [first, second]) await page.locator('#state[data-state="open"]').waitFor();
  const textOf = (page, text) => page.locator('#others li', { hasText: text }).waitFor();
  await first.page.locator('#mine').pressSequentially('hello from one');
  await textOf(second.page, 'hello from one');
  await second.page.locator('#mine').fill('and from two');
  await textOf(first.page, 'and from two');

  await first.page.locator('#flood').check();
  await second.page.waitForFunction(() => Number(document.getElementById('rate').value) > 10);
  assert.equal(await second.page.locator('#gaps').textContent(), '0');

  await second.page.locator('#restart').click();
  await second.page.locator('#log [data-kind="gap"]').waitFor();
  await second.page.locator('#state[data-state="open"]').waitFor();
  const kinds = await second.page.locator('#log li').evaluateAll((items) => items.map((item) => item.dataset.kind));
  assert.deepEqual(
    kinds.filter((kind) => kind !== 'reconnecting'),
    ['gap', 'open', 'open'],
    'newest first',
  );
  await first.page.locator('#mine').fill('still here');
  await textOf(second.page, 'still here');
  if (process.env.SCREENSHOT !== undefined) await second.page.screenshot({ path: process.env.SCREENSHOT });
  await first.page.close();
  await second.page.locator('#alone').waitFor();
  assert.deepEqual([...first.problems, ...second.problems], []);
});
