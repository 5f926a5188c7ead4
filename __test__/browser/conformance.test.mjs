// The conformance suite in a real Chromium: spokes against the native hub, and the two ends of a worker.
import assert from 'node:assert/strict';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { conformanceElsewhere } from '../conformance/index.mjs';
import { openPage, pageOf, serveProject, startChromium, withoutChromium } from './chromium.mjs';

const options = { skip: withoutChromium, timeout: 280_000 };

/** What every page here has. `run` leaves the results where the test finds them. */
const prelude = `
import { casesOf } from '/__test__/conformance/cases.mjs';
import { runCases } from '/__test__/conformance/runner.mjs';
const cases = casesOf({ transport: true, echo: false, acknowledges: true });
const run = (makePair) => runCases(cases, makePair).then((results) => (globalThis.results = results));
`;

/** Results of the suite that a page runs. */
async function resultsOf(t, origin) {
  const context = await startChromium(t);
  const { page, problems } = await openPage(t, context, `${origin}/`);
  const handle = await page.waitForFunction(() => globalThis.results, undefined, { timeout: options.timeout });
  const results = await handle.jsonValue();
  t.diagnostic(`${results.length} cases in ${await page.evaluate(() => navigator.userAgent)}`);
  const [slowest] = results.toSorted((a, b) => b.ms - a.ms);
  t.diagnostic(`the slowest took ${slowest.ms} ms: ${slowest.sentence}`);
  assert.deepEqual(problems, []);
  return results;
}

conformanceElsewhere('two spokes in Chromium at a relaying native hub', options, async (t) => {
  const hubs = new Map();
  const origin = await serveProject(t, {
    'GET /': () =>
      pageOf(`${prelude}
import { createWebSocketClientEventTarget as connect } from '@alkdev/pubsub-native/event-target-websocket-client';
run(async () => {
  const { url } = await (await fetch('/hub')).json();
  const [a, b] = [connect(url), connect(url)];
  const close = async () => {
    await Promise.all([a.close(), b.close()]);
    await fetch('/close?url=' + encodeURIComponent(url));
  };
  return { a, b, close };
});`),
    'GET /hub': async () => {
      const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true, allowedOrigins: [origin] });
      t.after(() => hub.close({ timeoutMs: 0 }));
      await hub.ready();
      hubs.set(hub.address.url, hub);
      return { url: hub.address.url };
    },
    'GET /close': (query) => hubs.get(query.get('url')).close(),
  });
  return resultsOf(t, origin);
});

conformanceElsewhere('worker targets in Chromium, the host publishes', options, async (t) => {
  const origin = await serveProject(t, {
    'GET /': () =>
      pageOf(`${prelude}
import { createWorkerHostEventTarget } from '@alkdev/pubsub-native/event-target-worker';
import { startRemote } from '/__test__/browser/page/remote-target.mjs';
run(async () => {
  const { worker, target } = startRemote();
  const host = createWorkerHostEventTarget(worker);
  const close = () => host.close().then(() => worker.terminate());
  return { a: host, b: target, close };
});`),
  });
  return resultsOf(t, origin);
});
