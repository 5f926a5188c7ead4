// The spoke in a real Chromium against the native hub: refusals a page can read, a hub that is killed, tabs that are blocked, cached and closed.
// The conformance suite is in conformance.test.mjs.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { createWebSocketServerEventTarget } from '../../dist/event-target-websocket-server.js';
import { createEvent } from '../../dist/index.js';
import { within } from '../websocket/facts.mjs';
import { openPage, pageOf, serveProject, startChromium, withoutChromium } from './chromium.mjs';

const options = { skip: withoutChromium, timeout: 240_000 };

/** One browser for all tests: each has pages of its own. */
let context;
const endings = [];
before(async () => {
  const whenOver = { after: (end) => endings.push(end) };
  if (!withoutChromium) context = await startChromium(whenOver, { keepsPages: true });
});
after(() => Promise.all(endings.map((end) => end())));

/** What every page here has: the factory as `connect`. */
const prelude = `
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketClientEventTarget as connect } from '@alkdev/pubsub-native/event-target-websocket-client';
`;

async function listenOn(t, hubOptions) {
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, ...hubOptions });
  t.after(() => hub.close({ timeoutMs: 0 }));
  await hub.ready();
  return hub;
}

test('a page of a foreign origin is refused; 4401, 4403 and who is asked again are readable', options, async (t) => {
  let asked = 0;
  const origin = await serveProject(t, { 'GET /': () => pageOf(`${prelude} globalThis.connect = connect;`) });
  const answers = { '/refused': false, '/unknown': undefined, '/late': { subscribe: ['news:*'] } };
  const authorize = {
    connect({ url }) {
      asked++;
      return url === '/late' && asked === 1 ? undefined : answers[url];
    },
  };
  const foreign = await listenOn(t, { authorize });
  const hub = await listenOn(t, { authorize, allowedOrigins: [origin] });
  const { page } = await openPage(t, context, `${origin}/`);
  await page.waitForFunction(() => globalThis.connect);
  /** How a spoke of this page ends, or what it may subscribe to. */
  const outcome = (url) =>
    page.evaluate(async (to) => {
      const causes = [];
      const spoke = globalThis.connect(() => to, { reconnect: { minDelayMs: 1, maxDelayMs: 1 } });
      spoke.addEventListener('error', () => {});
      const lost = new Promise((resolve) =>
        spoke.addEventListener('reconnecting', ({ detail: { cause, attempt } }) => {
          causes.push(cause.code);
          if (attempt === 3) resolve();
        }),
      );
      for (const topic of ['news:1', 'other:']) spoke.addEventListener(topic, () => {});
      const topics = Promise.all(
        ['news:1', 'other:'].map((topic) => spoke.ready(topic).then(String, ({ code }) => code)),
      );
      const ended = spoke.closed.then(({ code, error }) => [code, error?.code]);
      const end = await Promise.race([ended, lost, topics]);
      await spoke.close();
      return { causes, end };
    }, url);
  // The page sees no status: it learns that no connection was made, and the spoke goes on trying.
  assert.deepEqual((await outcome(`${foreign.address.url}late`)).causes, Array(3).fill('ERR_CONNECT'));
  assert.equal(asked, 0);
  assert.deepEqual(await outcome(`${hub.address.url}late`), {
    causes: ['ERR_NOT_IDENTIFIED'],
    end: ['[object Object]', 'ERR_FORBIDDEN'],
  });
  assert.deepEqual(await outcome(`${hub.address.url}refused`), { causes: [], end: [4403, 'ERR_FORBIDDEN'] });
  assert.deepEqual(await outcome(`${hub.address.url}unknown`), {
    causes: ['ERR_NOT_IDENTIFIED'],
    end: [4401, 'ERR_NOT_IDENTIFIED'],
  });
});

test('a hub that is killed and started again: exactly one gap, before the first new event', options, async (t) => {
  const origin = await serveProject(t, {
    'GET /': () =>
      pageOf(`${prelude}
globalThis.start = (url) => {
  const log = (globalThis.log = []);
  const spoke = connect(url, { reconnect: { minDelayMs: 10, maxDelayMs: 50 } });
  for (const name of ['open', 'gap', 'error', 'close']) spoke.addEventListener(name, ({ detail }) => log.push([name, detail]));
  for (const topic of ['tick:a', 'tick:b']) spoke.addEventListener(topic, ({ detail }) => log.push([topic, detail.payload]));
  return spoke.ready('tick:b').then(() => true);
};`),
  });
  let hub = await startHub(t, origin, 0);
  const { page } = await openPage(t, context, `${origin}/`);
  await page.waitForFunction(() => globalThis.start);
  await page.evaluate((url) => globalThis.start(url), `ws://127.0.0.1:${hub.port}`);
  await page.waitForFunction(() => globalThis.log.filter(([name]) => name === 'tick:b').length > 3);
  const killedAt = Date.now();
  hub.child.kill('SIGKILL');
  await once(hub.child, 'exit');
  hub = await startHub(t, origin, hub.port);
  await page.waitForFunction(() => {
    const { log } = globalThis;
    const again = log.findIndex(([name], i) => name === 'open' && i > 0);
    return again > 0 && log.slice(again).filter(([name]) => name === 'tick:b').length > 3;
  });
  const log = await page.evaluate(() => globalThis.log);
  const names = log.map(([name]) => name);
  const second = names.lastIndexOf('open');
  assert.deepEqual(
    names.filter((name) => !name.startsWith('tick')),
    ['open', 'open', 'gap'],
  );
  assert.equal(names[second + 1], 'gap');
  const [, { from, to, ...gap }] = log[second + 1];
  assert.deepEqual(gap, { cause: 'connection-lost', direction: 'in', topics: ['tick:a', 'tick:b'] });
  assert(from <= killedAt + 1000 && from <= to && to >= killedAt);
});

/** A hub in a process of its own, which sends ticks. */
async function startHub(t, origin, port) {
  const child = fork(new URL('ticking-hub.mjs', import.meta.url), [origin, String(port)]);
  t.after(() => child.kill('SIGKILL'));
  const [message] = await within(once(child, 'message'), 'the hub listens');
  return { child, port: message.port };
}

test(
  'a tab that is blocked for four heartbeats keeps its link: the browser answers for it, and nobody is taken for dead',
  options,
  async (t) => {
    const origin = await serveProject(t, {
      'GET /': () =>
        pageOf(`${prelude}
const spoke = connect(location.hash.slice(1), { limits: { heartbeatMs: 500 } });
globalThis.log = [];
for (const name of ['open', 'reconnecting', 'gap', 'error', 'close']) spoke.addEventListener(name, () => log.push([name]));
spoke.addEventListener('tick:', ({ detail }) => log.push(['tick', detail.payload, Date.now()]));`),
    });
    const hub = await listenOn(t, { allowedOrigins: [origin], limits: { heartbeatMs: 500 } });
    let n = 0;
    const ticks = setInterval(() => hub.dispatchEvent(createEvent('tick', '', n++)), 10);
    t.after(() => clearInterval(ticks));
    const { page } = await openPage(t, context, `${origin}/#${hub.address.url}`);
    await page.waitForFunction(() => globalThis.log?.length > 10);
    // Both sides would have given up after two and a half.
    await page.evaluate(() => {
      const end = performance.now() + 2000;
      while (performance.now() < end);
    });
    await page.waitForFunction((last) => globalThis.log.some(([, payload]) => payload > last), n + 50);
    const log = await page.evaluate(() => globalThis.log);
    assert.deepEqual(
      log.map(([name]) => name).filter((name) => name !== 'tick'),
      ['open'],
    );
    const heard = log.filter(([name]) => name === 'tick');
    const [, first] = heard[0];
    assert.deepEqual(
      heard.map(([, payload]) => payload),
      heard.map((_, i) => first + i),
    );
    const pause = Math.max(...heard.slice(1).map(([, , at], i) => at - heard[i][2]));
    t.diagnostic(`the tab heard nothing for ${pause} ms`);
    assert(pause > 1900, 'it was blocked');
  },
);

test(
  'a page in the back/forward cache has lost its link, and makes it again with a gap when it is shown',
  options,
  async (t) => {
    const origin = await serveProject(t, {
      'GET /': () =>
        pageOf(`${prelude}
globalThis.log = [];
addEventListener('pageshow', ({ persisted }) => persisted && log.push('shown again'));
const spoke = connect(location.hash.slice(1), { reconnect: { maxDelayMs: 50 } });
for (const name of ['open', 'gap', 'close']) spoke.addEventListener(name, () => log.push(name));
spoke.addEventListener('a:', () => {});
spoke.ready('a:').then(() => log.push('ready'));`),
      'GET /other': () => '<p>another page',
    });
    const hub = await listenOn(t, { allowedOrigins: [origin] });
    const { page } = await openPage(t, context, `${origin}/#${hub.address.url}`);
    await page.waitForFunction(() => globalThis.log?.includes('ready'));
    await page.goto(`${origin}/other`);
    // A page that comes out of the cache is not loaded: there is no event of that name to wait for.
    await page.goBack({ waitUntil: 'commit' });
    await page.waitForFunction(() => globalThis.log?.includes('gap'));
    assert.deepEqual(await page.evaluate(() => globalThis.log), ['open', 'ready', 'shown again', 'open', 'gap']);
  },
);

test('a tab that is closed is gone for the hub', options, async (t) => {
  const origin = await serveProject(t, {
    'GET /': () => pageOf(`${prelude} globalThis.spoke = connect(location.hash.slice(1));`),
  });
  const hub = await listenOn(t, { allowedOrigins: [origin] });
  const connected = new Promise((resolve) => hub.addEventListener('connection', resolve, { once: true }));
  const { page } = await openPage(t, context, `${origin}/#${hub.address.url}`);
  await within(connected, 'the page is connected');
  const gone = new Promise((resolve) =>
    hub.addEventListener('disconnection', ({ detail }) => resolve(detail.code), { once: true }),
  );
  await page.close();
  assert([1001, 1006].includes(await within(gone, 'the hub knows')));
  hub.dispatchEvent(createEvent('a', 'b', 1));
});
