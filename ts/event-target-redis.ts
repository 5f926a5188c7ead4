// The factory of the Redis target. Reads no options itself (redis-options.ts) and does not know how the target behaves (redis-target.ts,
// engine/src/spoke/, engine/src/transport/redis/).

import type { BackplaneTarget } from './backplane.js';
import { makeSpoke } from './native-spoke.js';
import { redisAddon } from './redis-addon.js';
import { checkRedisOptions, type RedisEventTargetOptions, readRedis } from './redis-options.js';
import { readDestination } from './redis-servers.js';
import { RedisTarget } from './redis-target.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';

export type { BackplaneTarget } from './backplane.js';
export type { ClientTlsOptions } from './client-tls.js';
export type { Limits, QueueOptions } from './limits.js';
export type { OrAsked } from './native-spoke.js';
export type { Pem } from './pem.js';
export type { RedisBackplaneOptions, RedisCommonOptions, RedisEventTargetOptions } from './redis-options.js';
export type { RedisAtNodes, RedisAtSentinels, RedisAtUrl, RedisLogin, RedisServer } from './redis-servers.js';
export type { ReconnectOptions } from './spoke-options.js';

const { redisTarget } = redisAddon();

/** A target at a Redis; given to hubs as their `backplane`, it joins them. */
export interface RedisEventTarget<TEvent extends TypedEvent = AnyEvent> extends NativeTarget<TEvent>, BackplaneTarget {}

/**
 * Makes a target whose events travel through a Redis: whatever one dispatches reaches the listeners of all, its own among them. It
 * connects in the background and again whenever a connection is lost. Besides `url` there are `{ sentinels, serviceName }` and `{ nodes }`.
 *
 * ```js
 * const events = createRedisEventTarget({ url: 'redis://127.0.0.1:6379', prefix: 'app:' });
 * events.addEventListener('chat.msg:r1', (event) => console.log(event.detail.payload));
 * await events.ready('chat.msg:r1');
 * ```
 */
export function createRedisEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: RedisEventTargetOptions,
): RedisEventTarget<TEvent> {
  checkRedisOptions(options);
  const { echo, ...rest } = options;
  const redis = readRedis(options);
  return makeSpoke<TEvent>(
    rest,
    readDestination(options),
    (native) => redisTarget(native, redis),
    RedisTarget,
  ) as RedisEventTarget<TEvent>;
}
