// URLs of a Redis, and the call that a client of another library stands for. Does not connect.
// Invariant: no password is put into a message.

import { invalidOption } from './options.js';

/** True for the URLs that the engine connects to. */
export function isServerUrl(url: string): boolean {
  return /^(redis|rediss|valkey|valkeys):\/\/./.test(url) || /^unix:(\/\/)?\/./.test(url);
}

/** What is read of clients of ioredis and node-redis. */
interface Client {
  readonly publish: unknown;
  readonly subscribe: unknown;
  readonly options?: ClientOptions;
}

interface ClientOptions {
  readonly url?: string;
  readonly host?: string;
  readonly port?: number;
  readonly path?: string | null;
  readonly db?: number;
  readonly username?: string | null;
  readonly password?: string | null;
  readonly tls?: unknown;
}

/** Throws for `{ publishClient, subscribeClient }` and the like, and for a client itself: it shows what to write instead. */
export function checkNoClient(options: object): void {
  const entries = Object.entries(Object(options));
  const [name, client] = isClient(options) ? ['', options] : (entries.find(([, value]) => isClient(value)) ?? []);
  if (!isClient(client)) return;
  const what = name === '' ? 'the client given' : `the client "${name}"`;
  const { prefix } = options as { prefix?: unknown };
  const prefixed = typeof prefix === 'string' ? `, prefix: ${JSON.stringify(prefix)}` : '';
  const call = `createRedisEventTarget({ url: ${JSON.stringify(urlOf(client.options ?? {}))}${prefixed} })`;
  throw invalidOption(`${what} is not needed, this target opens connections of its own: write ${call}`);
}

function isClient(value: unknown): value is Client {
  const { publish, subscribe } = Object(value) as Partial<Client>;
  return typeof publish === 'function' && typeof subscribe === 'function';
}

function urlOf({ url, host, port, path, db, username, password, tls }: ClientOptions): string {
  if (typeof url === 'string') return url.replace(/\/\/([^/@]*)@/, '//<user>:<password>@');
  if (typeof path === 'string') return `unix://${path}${db ? `?db=${db}` : ''}`;
  const credentials = password ? `${username ?? ''}:<password>@` : '';
  return `${tls ? 'rediss' : 'redis'}://${credentials}${host ?? '127.0.0.1'}:${port ?? 6379}${db ? `/${db}` : ''}`;
}
