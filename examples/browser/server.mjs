// Serves a page on loopback whose tabs talk to each other through a hub of this process: "npm run example:browser", then open the address in two tabs.
// Usage: node examples/browser/server.mjs [port of the page, default 8080; 0 is a free one]
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';

const page = new URL('./page/', import.meta.url);
const dist = new URL('../../dist/', import.meta.url);
const types = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
};

/** The hub of the tabs; `restart` takes it away for a second, so that they have something to tell. */
let hub;

async function startHub(port, origins) {
  // The page comes from another port, so it is of another origin: the hub has to allow it.
  hub = createWebSocketServerEventTarget({ listen: { port }, relay: true, allowedOrigins: origins });
  hub.addEventListener('error', ({ detail }) => console.error(`hub: ${detail.message}`));
  await hub.ready();
}

async function restart() {
  const { port } = hub.address;
  await hub.close({ code: 1012, reason: 'restart' });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await startHub(port, origins);
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://page');
  try {
    if (request.method === 'POST' && pathname === '/restart') {
      // Only this page may: other origins could make a browser send this.
      if (!origins.includes(request.headers.origin)) return response.writeHead(403).end();
      await restart();
      return response.writeHead(204).end();
    }
    if (pathname === '/hub.json') return send(response, '.js', JSON.stringify({ port: hub.address.port }));
    const file = fileOf(pathname);
    if (file === undefined) return response.writeHead(404).end('not found');
    send(response, extname(file.pathname), await readFile(file));
  } catch (error) {
    response.writeHead(error.code === 'ENOENT' ? 404 : 500).end(error.code ?? error.message);
  }
});

function fileOf(pathname) {
  if (pathname === '/') return new URL('index.html', page);
  if (/^\/[\w-]+\.(css|mjs)$/.test(pathname)) return new URL(pathname.slice(1), page);
  return /^\/dist\/([\w-]+\/)*[\w-]+\.js$/.test(pathname) ? new URL(pathname.slice('/dist/'.length), dist) : undefined;
}

/** Scripts from here and the import map only, connections to the hub only: what a page needs at least. */
function send(response, extension, body) {
  const policy = `default-src 'self'; img-src data:; script-src 'self' '${importMapHash}'; connect-src 'self' ${hubs()}`;
  response.writeHead(200, {
    'content-type': types[extension],
    'content-security-policy': policy,
    'cache-control': 'no-store',
  });
  response.end(body);
}

const hubs = () => ['127.0.0.1', 'localhost'].map((host) => `ws://${host}:${hub.address.port}`).join(' ');

const [importMap] = /(?<=<script type="importmap">)[\s\S]*?(?=<\/script>)/.exec(
  await readFile(new URL('index.html', page), 'utf8'),
);
const importMapHash = `sha256-${createHash('sha256').update(importMap).digest('base64')}`;

const port = Number(process.argv[2] ?? 8080);
await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
const origins = ['127.0.0.1', 'localhost'].map((host) => `http://${host}:${server.address().port}`);
await startHub(0, origins);
console.log(`open ${origins[0]} in two tabs; Ctrl+C ends`);

for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, async () => {
    server.closeAllConnections();
    server.close();
    await hub.close({ code: 1001 });
  });
