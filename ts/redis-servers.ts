// Which servers a Redis target connects to: one by its URL, a master by its Sentinels, or a cluster by some of its nodes; and who we are there.
// Does not connect. Invariant: no password is put into a message.

import { current, type DestinationOption, type OrAsked } from './native-spoke.js';
import { boolean, checkNames, given, invalidOption, positiveInteger, string, wrong } from './options.js';
import type { NativeRedisOptions } from './port.js';
import { isServerUrl } from './redis-url.js';
import type { Destination, HeaderPairs } from './spoke-target.js';

/** A node or a Sentinel: its URL, or host and port of one without TLS. */
export type RedisServer = string | URL | { readonly host: string; readonly port?: number };

/** Who we are at a Redis. */
export interface RedisLogin {
  /** Instead of the user of the URL. */
  readonly username?: OrAsked<string>;
  /** Instead of the password of the URL; a function is asked before each attempt to connect. */
  readonly password?: OrAsked<string>;
}

/** One server. */
export interface RedisAtUrl extends RedisLogin {
  /** `redis://user:password@host:port/db`, `rediss://…` or `unix:///path?db=0`; a function is asked before each attempt to connect. */
  readonly url: OrAsked<string | URL>;
}

/** A master that Sentinels watch. */
export interface RedisAtSentinels extends RedisLogin {
  /** The Sentinels, asked in turn; port 26379 unless another is named. */
  readonly sentinels: readonly RedisServer[];
  /** The name under which the Sentinels watch the master. */
  readonly serviceName: string;
  /** Who we are at the Sentinels, instead of what their URLs say. */
  readonly sentinelUsername?: OrAsked<string>;
  readonly sentinelPassword?: OrAsked<string>;
}

/** A cluster. */
export interface RedisAtNodes extends RedisLogin {
  /** Some of its nodes; the others are learnt from them. Port 6379 unless another is named. */
  readonly nodes: readonly RedisServer[];
  /** Sharded channels (SSUBSCRIBE, SPUBLISH): an event goes through the node that owns its channel's slot alone. Default false. */
  readonly sharded?: boolean;
}

type Loose = Partial<RedisAtUrl & RedisAtSentinels & RedisAtNodes>;

export const serverNames: readonly string[] = [
  'url',
  'username',
  'password',
  'sentinels',
  'serviceName',
  'sentinelUsername',
  'sentinelPassword',
  'nodes',
  'sharded',
];

const waysToServers = ['url', 'sentinels', 'nodes'] as const;
const ownNames: Readonly<Record<(typeof waysToServers)[number], readonly string[]>> = {
  url: [],
  sentinels: ['serviceName', 'sentinelUsername', 'sentinelPassword'],
  nodes: ['sharded'],
};

/** True for options that say which servers. */
export function namesServers(options: object): boolean {
  return waysToServers.some((name) => name in options);
}

/** The one way to servers that was given. */
function wayOf(options: Loose): (typeof waysToServers)[number] {
  const ways = waysToServers.filter((name) => options[name] !== undefined);
  if (ways.length > 1) throw invalidOption(`${ways.join(' and ')} exclude each other`);
  const [way = 'url'] = ways;
  for (const [other, names] of Object.entries(ownNames)) {
    const odd = names.find((name) => other !== way && options[name as keyof Loose] !== undefined);
    if (odd !== undefined) throw invalidOption(`${odd} goes with ${other}`);
  }
  return way;
}

/** Where servers are that are several, for the engine; nothing for one at a URL. */
export function readServers(options: Loose & { readonly tls?: unknown }): Partial<NativeRedisOptions> {
  const way = wayOf(options);
  if (way === 'nodes') {
    const sharded = boolean('sharded', options.sharded) ?? false;
    return { nodes: readList('nodes', options.nodes, 6379), sharded };
  }
  if (way === 'url') return {};
  const sentinels = readList('sentinels', options.sentinels, 26379);
  const serviceName = string('serviceName', options.serviceName);
  if (serviceName === undefined) throw invalidOption('serviceName must be the name of the master at its Sentinels');
  // Sentinels name host and port alone.
  const masterTls = options.tls !== undefined || sentinels.some(isSecure);
  return { sentinels, serviceName, masterTls };
}

function readList(name: string, servers: readonly RedisServer[] | undefined, defaultPort: number): readonly string[] {
  if (!Array.isArray(servers) || servers.length === 0) throw wrong(name, 'a list of at least one server', servers);
  const urls = servers.map((server: RedisServer, index) => urlOf(`${name}[${index}]`, server, defaultPort));
  if (name === 'nodes' && urls.some((url) => isSecure(url) !== isSecure(urls[0] as string)))
    throw invalidOption('nodes must all be redis: or all be rediss: URLs');
  return urls;
}

const isSecure = (url: string): boolean => /^(rediss|valkeys):/.test(url);

function urlOf(name: string, server: RedisServer, defaultPort: number): string {
  const expected = `${name} must be a redis: or rediss: URL, or { host, port }`;
  if (typeof server === 'string' || server instanceof URL) {
    const url = String(server);
    if (!isServerUrl(url) || url.startsWith('unix:')) throw invalidOption(expected);
    return withPort(url, defaultPort);
  }
  if (typeof server !== 'object' || server === null) throw invalidOption(expected);
  checkNames(server, ['host', 'port'], name);
  const host = string(`${name}.host`, server.host);
  if (host === undefined) throw invalidOption(expected);
  const port = positiveInteger(`${name}.port`, server.port, 65_535) ?? defaultPort;
  return `redis://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The engine's default port is that of a Redis, not of a Sentinel. */
function withPort(url: string, port: number): string {
  const [, head = '', authority = '', tail = ''] = /^([a-z]+:\/\/)([^/?#]*)(.*)$/.exec(url) ?? [];
  return /:\d+$/.test(authority) ? url : `${head}${authority}:${port}${tail}`;
}

/** What is constant is checked at once, what is a function's is asked for later. */
export function readDestination(options: Loose): DestinationOption {
  const isOne = wayOf(options) === 'url';
  const { url, username, password, sentinelUsername, sentinelPassword } = options;
  const logins = Object.entries({ username, password, sentinelUsername, sentinelPassword });
  const isAsked = [url, ...logins.map(([, value]) => value)].some((value) => typeof value === 'function');
  const read = (at: unknown, values: readonly unknown[]): Destination => ({
    url: isOne ? readUrl(at) : '',
    headers: headersOf(logins.map(([name], index) => [name, values[index]])),
  });
  if (!isAsked)
    return read(
      url,
      logins.map(([, value]) => value),
    );
  return async () => {
    const asked = [url, ...logins.map(([, value]) => value)].map((value) => current<string | URL>(value ?? ''));
    const [at, ...values] = await Promise.all(asked);
    return read(
      at,
      values.map((value) => value || undefined),
    );
  };
}

function headersOf(logins: readonly (readonly [string, unknown])[]): HeaderPairs {
  return Object.entries(given(Object.fromEntries(logins.map(([name, value]) => [name, text(name, value)])))) as never;
}

function readUrl(url: unknown): string {
  // A URL of another realm is none of `URL`.
  const text: unknown = typeof url === 'string' ? url : Object(url).href;
  if (typeof text !== 'string' || !isServerUrl(text))
    throw invalidOption('url must be a redis:, rediss: or unix: URL, such as "redis://127.0.0.1:6379"');
  return text;
}

/** As `string`, but what is wrong is not shown. */
function text(name: string, value: unknown): string | undefined {
  if (value !== undefined && (typeof value !== 'string' || value === ''))
    throw invalidOption(`${name} must be a non-empty string or a function`);
  return value;
}
