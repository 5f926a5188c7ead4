// Finds and starts real Redis servers, each on a free port with a folder of its own, and speaks to them. Knows no tests.
// Nothing is installed here: where there is no server the caller is told what to install.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Redis from 'ioredis';

const isCI = process.env.CI === 'true' || process.env.CI === '1';

/** What REDIS_SERVER names stands above all: were another server taken in its place, the tests would speak of the wrong one. */
const programs = process.env.REDIS_SERVER ? [process.env.REDIS_SERVER] : ['redis-server', 'valkey-server'];

const program = programs.find((name) => spawnSync(name, ['--version']).status === 0);
if (program === undefined && process.env.REDIS_SERVER)
  throw new Error(`REDIS_SERVER names ${JSON.stringify(process.env.REDIS_SERVER)}, which cannot be run`);

/** False, or the reason why tests with a server are skipped. In CI on Linux nothing is skipped: scripts/provision installs it. */
export const withoutRedis =
  program !== undefined || (isCI && process.platform === 'linux')
    ? false
    : 'no redis-server: install it (Debian, Ubuntu: "apt-get install redis-server"), or name one in REDIS_SERVER';

const given = new Set();

/** A port that nobody has: below those that the system takes for connections, so that none of them takes it meanwhile. */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (given.has(port)) continue;
    given.add(port);
    const server = createServer().listen(port, '127.0.0.1');
    // An error of the server rejects.
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    await new Promise((resolve) => server.close(resolve));
    if (isFree) return port;
  }
}

/** A server of one test: what stops it is registered there. `restart` keeps port and arguments. */
export function startRedis(t, ...settings) {
  return launch(t, ({ socket, folder }) => [
    ...['--unixsocket', socket, '--dir', folder],
    ...['--save', '', '--appendonly', 'no', '--enable-debug-command', 'yes', ...settings],
  ]);
}

/** A Sentinel that watches this master. */
export function startSentinel(t, name, master, quorum, ...lines) {
  return launch(t, ({ folder }) => {
    const file = join(folder, 'sentinel.conf');
    const own = [
      `dir ${folder}`,
      'sentinel resolve-hostnames no',
      `sentinel monitor ${name} 127.0.0.1 ${master} ${quorum}`,
    ];
    writeFileSync(file, [...own, ...lines, ''].join('\n'));
    return [file, '--sentinel'];
  });
}

async function launch(t, settingsOf) {
  if (program === undefined) throw new Error('CI needs redis-server: scripts/provision installs it');
  const folder = mkdtempSync(join(tmpdir(), 'redis-'));
  const port = await freePort();
  const socket = join(folder, 'redis.sock');
  const settings = [...settingsOf({ socket, folder }), '--port', String(port), '--bind', '127.0.0.1'];
  const server = new Server(port, socket, settings);
  t.after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });
  await server.start();
  return server;
}

class Server {
  #settings;
  #process;
  #clients = [];

  constructor(port, socket, settings) {
    this.port = port;
    this.socket = socket;
    this.#settings = settings;
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid() {
    return this.#process.pid;
  }

  async start() {
    const child = spawn(program, this.#settings, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    let log = '';
    await new Promise((resolve, reject) => {
      child.stdout.on('data', (chunk) => {
        log = (log + chunk).slice(-4000);
        if (/ready to accept connections|Sentinel ID is/i.test(log)) resolve();
      });
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}: ${log}`)));
    });
  }

  /** Ends it at once: no farewell to anybody. */
  async kill() {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.removeAllListeners('exit');
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async stop() {
    for (const client of this.#clients.splice(0)) client.disconnect();
    await this.kill();
  }

  /** A client of ioredis; ends with the server. */
  client(options = {}) {
    const client = new Redis({ port: this.port, host: '127.0.0.1', ...options });
    client.on('error', () => {});
    this.#clients.push(client);
    return client;
  }

  /** One command, on a connection of its own. */
  async command(...words) {
    const client = new Redis({ port: this.port, host: '127.0.0.1', retryStrategy: null });
    client.on('error', () => {});
    try {
      return await client.call(...words);
    } finally {
      client.disconnect();
    }
  }
}
