// The options that all hubs have in common, whatever makes their links; makes the native hub and wraps it.
// Does not know a transport: each transport's factory adds its own way to make links.

import { type Authorize, checkAuthorize } from './authorize.js';
import { type BackplaneTarget, joins, readBackplane } from './backplane.js';
import { type HubCallbacks, HubTarget, type HubTargetOptions, type IrohHubEventTarget } from './hub-target.js';
import { checkLimits, type Limits, limitNames, type QueueOptions, readLimits, readQueues } from './limits.js';
import { NativeHub } from './native.js';
import { boolean, callback, given, invalidOption, nonNegativeInteger, positiveInteger } from './options.js';
import type { NativeBackplane, NativeHubOptions } from './port.js';
import { redisAddon } from './redis-addon.js';
import { type RedisBackplaneOptions, readRedisBackplane } from './redis-options.js';
import { namesServers } from './redis-servers.js';
import { askedBackplane } from './redis-target.js';
import type { AnyEvent, TypedEvent } from './types.js';

/** What a hub's peers may cost together. */
export interface HubLimits extends Limits {
  /** Default 10 000. */
  readonly maxConnections?: number;
  /** Default 10 000. */
  readonly maxTopicsPerConnection?: number;
  /** Default 1 000 000. */
  readonly maxTopics?: number;
  /** Bytes of half-received messages of all connections together. Default 256 MiB. */
  readonly maxInboundBytes?: number;
  /** Events that one connection may publish in a second before its reading pauses. Default: no bound. */
  readonly maxPublishPerSecond?: number;
  /** Their bytes. Default: no bound. */
  readonly maxPublishBytesPerSecond?: number;
}

/** What all hubs have, whatever carries their connections. */
export interface HubOptions<TEvent extends TypedEvent = AnyEvent> extends HubCallbacks<TEvent>, QueueOptions {
  /** A connection's events go to the other connections that subscribe, too. Default false. */
  readonly relay?: boolean;
  /** The hub's own listeners hear what is dispatched on it. Default false. */
  readonly echo?: boolean;
  /** How long all readers together wait for one slow reader, once, in milliseconds. Default 250. */
  readonly stallMs?: number;
  /** Bounds of messages, time, connections and topics. */
  readonly limits?: HubLimits;
  /** Who may come in, and what they may do. Without it everybody who reaches the hub may do everything. */
  readonly authorize?: Authorize;
  /**
   * Joins this hub to all others that have the same one: what is published on one reaches the subscribers of all. A target of
   * `createProcessEventTarget` or `createRedisEventTarget`, which stays yours to close; or the options of a Redis, as `{ url, prefix }`.
   */
  readonly backplane?: BackplaneTarget | RedisBackplaneOptions;
}

export const hubOptionNames: readonly string[] = [
  'relay',
  'echo',
  'stallMs',
  'limits',
  'maxBufferedAmount',
  'maxPendingBytes',
  'authorize',
  'backplane',
  'onConnection',
  'onDisconnection',
  'onBackpressure',
];

/** A native hub, and what its wrapper has to know. */
interface PreparedHub<TEvent extends TypedEvent> {
  readonly hub: NativeHub;
  readonly callbacks: HubCallbacks<TEvent>;
  readonly settings: HubTargetOptions;
}

/** Makes a hub; `addLinks` adds what makes its links. */
export function makeHub<TEvent extends TypedEvent>(
  options: HubOptions<TEvent>,
  addLinks: (hub: NativeHub) => void,
): IrohHubEventTarget<TEvent> {
  const { hub, callbacks, settings } = prepareHub(options);
  addLinks(hub);
  return new HubTarget(hub, callbacks, settings);
}

/** True for the options of a Redis; what is no backplane at all is not. */
function isRedis(backplane: BackplaneTarget | RedisBackplaneOptions | undefined): backplane is RedisBackplaneOptions {
  return typeof backplane === 'object' && backplane !== null && namesServers(backplane) && !(joins in backplane);
}

function readAnyBackplane(backplane: HubOptions['backplane']): NativeBackplane | undefined {
  if (!isRedis(backplane)) return readBackplane(backplane);
  const native = redisAddon().redisBackplane(...readRedisBackplane(backplane));
  if (native === null) throw invalidOption(askedBackplane);
  return native;
}

/** Reads the options and makes a native hub that nothing makes links for yet. */
export function prepareHub<TEvent extends TypedEvent>(options: HubOptions<TEvent>): PreparedHub<TEvent> {
  const callbacks = readCallbacks(options);
  const echo = boolean('echo', options.echo);
  const { authorize } = options;
  checkAuthorize(authorize);
  const backplane = readAnyBackplane(options.backplane);
  const hub = new NativeHub(readHubOptions(options));
  if (backplane !== undefined) hub.joinBackplane(backplane);
  return { hub, callbacks, settings: { echo, authorize } };
}

const hubLimitNames: readonly string[] = [
  'maxConnections',
  'maxTopicsPerConnection',
  'maxTopics',
  'maxInboundBytes',
  'maxPublishPerSecond',
  'maxPublishBytesPerSecond',
];

/** The engine numbers connections with twenty bits. */
const MAX_CONNECTIONS = 2 ** 20 - 1;

function readCallbacks<TEvent extends TypedEvent>(options: HubOptions<TEvent>): HubCallbacks<TEvent> {
  return given({
    onConnection: callback('onConnection', options.onConnection),
    onDisconnection: callback('onDisconnection', options.onDisconnection),
    onBackpressure: callback('onBackpressure', options.onBackpressure),
  });
}

function readHubOptions<TEvent extends TypedEvent>(options: HubOptions<TEvent>): NativeHubOptions {
  return {
    ...readQueues(options),
    ...readHubLimits(options.limits ?? {}),
    ...given({
      relay: boolean('relay', options.relay),
      stallMs: nonNegativeInteger('stallMs', options.stallMs),
    }),
    admitByHand: options.onConnection !== undefined,
    authorize: options.authorize !== undefined,
    authorizeSubscribe: options.authorize?.subscribe !== undefined,
  };
}

function readHubLimits(limits: HubLimits): Partial<NativeHubOptions> {
  checkLimits(limits, [...limitNames, ...hubLimitNames]);
  const own = {
    maxConnections: positiveInteger('maxConnections', limits.maxConnections, MAX_CONNECTIONS),
    maxTopicsPerConnection: positiveInteger('maxTopicsPerConnection', limits.maxTopicsPerConnection),
    maxTopics: positiveInteger('maxTopics', limits.maxTopics),
    maxInboundBytes: positiveInteger('maxInboundBytes', limits.maxInboundBytes),
    maxPublishPerSecond: positiveInteger('maxPublishPerSecond', limits.maxPublishPerSecond),
    maxPublishBytesPerSecond: positiveInteger('maxPublishBytesPerSecond', limits.maxPublishBytesPerSecond),
  };
  return { ...readLimits(limits), ...given(own) };
}
