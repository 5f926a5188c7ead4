// The options of a Redis, of a target there and of what joins hubs there: checked, and as the engine takes them. Makes nothing.

import { type ClientTlsOptions, readTls } from './client-tls.js';
import { type Limits, limitNames } from './limits.js';
import { boolean, checkNames, given, invalidOption, string, wrong } from './options.js';
import type { NativeRedisOptions, NativeSpokeOptions } from './port.js';
import {
  type RedisAtNodes,
  type RedisAtSentinels,
  type RedisAtUrl,
  readDestination,
  readServers,
  serverNames,
} from './redis-servers.js';
import { askedBackplane } from './redis-target.js';
import { checkNoClient } from './redis-url.js';
import { readSpokeOptions, type SpokeOptions, spokeOptionNames } from './spoke-options.js';
import { isWellFormed } from './topic.js';

/** What all Redis targets have, whichever servers there are. */
export interface RedisCommonOptions extends Omit<SpokeOptions, 'peer' | 'helloTimeoutMs' | 'limits'> {
  /** Stands before every topic: channel = prefix + topic. Default "". */
  readonly prefix?: string;
  /** For `rediss:`, and for a master that Sentinels name. */
  readonly tls?: ClientTlsOptions;
  /** What CLIENT LIST shows for the connections. */
  readonly clientName?: string;
  /** False: own listeners do not hear what is dispatched here. Default true, as Redis has it. */
  readonly echo?: boolean;
  readonly limits?: Omit<Limits, 'maxMalformed'>;
}

/** What a Redis target is made with: one server, Sentinels or a cluster. */
export type RedisEventTargetOptions = RedisCommonOptions & (RedisAtUrl | RedisAtSentinels | RedisAtNodes);

/** How hubs are joined by a Redis without a target there. `url`, users and passwords are texts. */
export type RedisBackplaneOptions = Omit<RedisCommonOptions, 'echo' | 'signal'> &
  (RedisAtUrl | RedisAtSentinels | RedisAtNodes);

const ownNames: readonly string[] = [...serverNames, 'prefix', 'tls', 'clientName'];
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
  checkNames(options, names);
  if (options.limits !== undefined) checkNames(options.limits, ownLimits, 'limits');
}

/** How to reach the servers, and how events lie there. */
export function readRedis(options: RedisEventTargetOptions): NativeRedisOptions {
  const { prefix, clientName, tls } = options;
  if (prefix !== undefined && (typeof prefix !== 'string' || !isWellFormed(prefix)))
    throw wrong('prefix', 'a well-formed string', prefix);
  if (clientName !== undefined && !/^[!-~]+$/.test(string('clientName', clientName) ?? ''))
    throw wrong('clientName', 'printable ASCII without spaces', clientName);
  // What is published here is marked, and passed over when it comes back.
  const origin = boolean('echo', options.echo) === false ? crypto.randomUUID() : undefined;
  return given({
    prefix,
    clientName,
    origin,
    tls: tls === undefined ? undefined : readTls(tls),
    ...readServers(options),
  });
}
