// Starts a real Redis that speaks TLS, with the certificate of the tests. Knows no tests.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pem } from '../servers/certificate.mjs';
import { startRedis } from './server.mjs';

/** A server with a second port for TLS; `ca` is the file of its authority. */
export async function startTls(t, authClients = 'no') {
  const folder = mkdtempSync(join(tmpdir(), 'redis-tls-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [cert, key] = ['cert', 'key'].map((name) => {
    const path = join(folder, name);
    writeFileSync(path, pem[name]);
    return path;
  });
  const settings = [
    '--tls-cert-file',
    cert,
    '--tls-key-file',
    key,
    '--tls-ca-cert-file',
    cert,
    '--tls-auth-clients',
    authClients,
  ];
  const plain = await startRedis(t, ...settings);
  // Port 0 would switch TLS off: a free one is asked for by a socket of the system's choice.
  for (let port = 20_000 + (process.pid % 20_000); ; port++) {
    if ((await plain.command('CONFIG', 'SET', 'tls-port', String(port)).catch(() => '')) === 'OK')
      return { plain, ca: cert, url: `rediss://127.0.0.1:${port}` };
  }
}
