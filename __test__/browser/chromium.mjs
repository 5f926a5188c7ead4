// Finds and starts a real Chromium, and serves pages and modules to it. Knows no tests.
// Nothing is downloaded: the browser is the system's, and where there is none the caller is told what to install.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
const isCI = process.env.CI === 'true' || process.env.CI === '1';

const places = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
];

const found = places.find((path) => path !== undefined && existsSync(path));

/** False, or the reason why tests with a browser are skipped. In CI on Linux nothing is skipped: scripts/provision installs it. */
export const withoutChromium =
  found !== undefined || (isCI && process.platform === 'linux')
    ? false
    : 'no Chromium: install it (Debian, Ubuntu: "apt-get install chromium"), or name one in CHROMIUM';

const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // The machine's proxy is not asked about this machine.
  '--no-proxy-server',
  '--disable-dev-shm-usage',
];

/** A browser with a profile of its own, gone with the test. `keepsPages`: with its back/forward cache, which tests have switched off. */
export async function startChromium(t, { keepsPages = false } = {}) {
  if (found === undefined) throw new Error('CI needs Chromium: scripts/provision installs it');
  const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: found,
    headless: true,
    ignoreDefaultArgs: keepsPages ? ['--disable-back-forward-cache'] : [],
    args: flags,
    viewport: { width: 900, height: 640 },
  });
  t.after(async () => {
    await context.close();
    rmSync(profile, { recursive: true, maxRetries: 5, force: true });
  });
  return context;
}

/** A page that tells what goes wrong in it; `problems` collects that. */
export async function openPage(t, context, url) {
  const page = await context.newPage();
  t.after(() => page.close());
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  await page.goto(url);
  return { page, problems };
}

const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript' };

/** Serves the modules of the project on loopback, and what `routes` has: "GET /path" → a function that gives text or an object. */
export async function serveProject(t, routes = {}) {
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://x');
    const route = routes[`${request.method} ${pathname}`];
    try {
      if (route !== undefined) return reply(response, await route(searchParams));
      const path = join(root, normalize(pathname));
      const isOurs = ['dist', '__test__'].some((folder) => path.startsWith(join(root, folder) + sep));
      if (!isOurs) return response.writeHead(404).end();
      response.writeHead(200, { 'content-type': types[extname(path)] ?? 'text/plain' }).end(await readFile(path));
    } catch (error) {
      response.writeHead(error.code === 'ENOENT' ? 404 : 500).end(String(error));
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

function reply(response, answer) {
  if (typeof answer === 'string') return response.writeHead(200, { 'content-type': types['.html'] }).end(answer);
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? null));
}

/** The package as a bundler with the condition `browser` resolves it, and what the suite needs of Node. */
const imports = {
  '@alkdev/pubsub-native': '/dist/index.js',
  '@alkdev/pubsub-native/event-target-websocket-client': '/dist/browser/event-target-websocket-client.js',
  '@alkdev/pubsub-native/event-target-worker': '/dist/event-target-worker.js',
  'node:assert/strict': '/__test__/browser/page/assert.mjs',
  '/__test__/conformance/uncaught.mjs': '/__test__/browser/page/uncaught.mjs',
};

/** A page that runs one module. */
export function pageOf(module) {
  const map = JSON.stringify({ imports });
  return `<!doctype html><meta charset="utf-8"><title>test</title><link rel="icon" href="data:,">
<script type="importmap">${map}</script><script type="module">${module}</script>`;
}
