// The options of a Redis, of a target there and of what joins hubs there: checked, and as the engine takes them. Makes nothing.

import { type ClientTlsOptions, readTls } from './client-tls.js';
import { type Limits, limitNames } from './limits.js';
import { current, type DestinationOption, type OrAsked } from './native-spoke.js';
import { boolean, checkNames, given, invalidOption, string, wrong } from './options.js';
import type { NativeRedisOptions, NativeSpokeOptions } from './port.js';
import { askedBackplane } from './redis-target.js';
import { checkNoClient, isServerUrl } from './redis-url.js';
import { readSpokeOptions, type SpokeOptions, spokeOptionNames } from './spoke-options.js';
import type { Destination, HeaderPairs } from './spoke-target.js';
import { isWellFormed } from './topic.js';

export interface RedisEventTargetOptions extends Omit<SpokeOptions, 'peer' | 'helloTimeoutMs' | 'limits'> {
  /** `redis://user:password@host:port/db`, `rediss://…` or `unix:///path?db=0`; a function is asked before each attempt to connect. */
  readonly url: OrAsked<string | URL>;
  /** Instead of the user of the URL. */
  readonly username?: OrAsked<string>;
  /** Instead of the password of the URL; a function is asked before each attempt to connect. */
  readonly password?: OrAsked<string>;
  /** Stands before every topic: channel = prefix + topic. Default "". */
  readonly prefix?: string;
  /** For `rediss:`. */
  readonly tls?: ClientTlsOptions;
  /** What CLIENT LIST shows for the two connections. */
  readonly clientName?: string;
  /** False: own listeners do not hear what is dispatched here. Default true, as Redis has it. */
  readonly echo?: boolean;
  readonly limits?: Omit<Limits, 'maxMalformed'>;
}

/** How hubs are joined by a Redis without a target there. `url`, `username` and `password` are texts. */
export type RedisBackplaneOptions = Omit<RedisEventTargetOptions, 'echo' | 'signal'>;

const ownNames: readonly string[] = ['url', 'username', 'password', 'prefix', 'tls', 'clientName'];
const ownLimits = limitNames.filter((name) => name !== 'maxMalformed');
const hubNames: readonly string[] = ['peer', 'helloTimeoutMs'];
const optionNames = [...ownNames, ...spokeOptionNames.filter((name) => !hubNames.includes(name))];
const backplaneNames = optionNames.filter((name) => name !== 'echo' && name !== 'signal');

/** What joins hubs by a Redis without a target there, as the engine takes it. */
export function readRedisBackplane(options: RedisBackplaneOptions): [NativeSpokeOptions, NativeRedisOptions] {
  checkRedisOptions(options, backplaneNames);
  const destination = readDestination(options);
  if (typeof destination === 'function') throw invalidOption(askedBackplane);
  return [{ ...destination, asks: false, ...readSpokeOptions(options) }, readRedis(options)];
}

/** Throws for options that are none, and for clients of other libraries. */
export function checkRedisOptions(options: RedisEventTargetOptions, names = optionNames): void {
  checkNoClient(options);
  checkNoSet(options);
  checkNames(options, names);
  if (options.limits !== undefined) checkNames(options.limits, ownLimits, 'limits');
}

/** Several servers are not built yet. */
function checkNoSet(options: object): void {
  for (const name of ['nodes', 'sentinels']) {
    if (name in Object(options)) throw invalidOption(`${name} is not supported yet; give the url of one server`);
  }
}

export function readRedis(options: RedisEventTargetOptions): NativeRedisOptions {
  const { prefix, clientName, tls } = options;
  if (prefix !== undefined && (typeof prefix !== 'string' || !isWellFormed(prefix)))
    throw wrong('prefix', 'a well-formed string', prefix);
  if (clientName !== undefined && !/^[!-~]+$/.test(string('clientName', clientName) ?? ''))
    throw wrong('clientName', 'printable ASCII without spaces', clientName);
  // What is published here is marked, and passed over when it comes back.
  const origin = boolean('echo', options.echo) === false ? crypto.randomUUID() : undefined;
  return given({ prefix, clientName, origin, tls: tls === undefined ? undefined : readTls(tls) });
}

/** What is constant is checked at once, what is a function's is asked for later. */
export function readDestination({ url, username, password }: RedisEventTargetOptions): DestinationOption {
  const isAsked = [url, username, password].some((value) => typeof value === 'function');
  if (!isAsked) return destination(url as string, username as string, password as string);
  return async () => {
    const asked = [url, username ?? '', password ?? ''].map((value) => current<string | URL>(value));
    const [at = '', user, word] = await Promise.all(asked);
    return destination(at, (user || undefined) as string | undefined, (word || undefined) as string | undefined);
  };
}

function destination(url: string | URL, username?: string, password?: string): Destination {
  const credentials = given({ username: text('username', username), password: text('password', password) });
  return { url: readUrl(url), headers: Object.entries(credentials) as unknown as HeaderPairs };
}

function readUrl(url: string | URL): string {
  if (!isServerUrl(String(url)))
    throw invalidOption('url must be a redis:, rediss: or unix: URL, such as "redis://127.0.0.1:6379"');
  return String(url);
}

/** As `string`, but what is wrong is not shown. */
function text(name: string, value: string | undefined): string | undefined {
  if (value !== undefined && (typeof value !== 'string' || value === ''))
    throw invalidOption(`${name} must be a non-empty string or a function`);
  return value;
}
