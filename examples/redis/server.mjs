// A redis-server of the example's own: on a free port of this machine, with nothing on disk but a folder that goes with it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * Starts a server, and waits until it takes connections.
 * @param {string} program `redis-server`, or what stands for it
 * @returns {Promise<{ url: string, stop: () => Promise<void> }>}
 */
export async function startServer(program) {
  const [port, folder] = [await freePort(), await mkdtemp(join(tmpdir(), 'redis-'))];
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'];
  const child = spawn(program, settings, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  // It must not outlive the example, however that ends.
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const stop = async () => {
    kill();
    await ended;
    process.removeListener('exit', kill);
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    await isReady(child);
  } catch (error) {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    throw error;
  }
  return { url: `redis://127.0.0.1:${port}`, stop };
}

function isReady(child) {
  let log = '';
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`it ended with ${code}: ${log}`)));
    child.stdout.on('data', (chunk) => {
      log = (log + chunk).slice(-4000);
      if (/ready to accept connections/i.test(log)) resolve();
    });
  });
}
