// The factory of the WebSocket hub: reads its options, makes the native hub, wraps it.
// Does not know how a hub behaves (hub-target.ts, engine/src/hub.rs).

import { type HubCallbacks, type HubEventTarget, HubTarget } from './hub-target.js';
import { checkLimits, type Limits, limitNames, type QueueOptions, readLimits, readQueues } from './limits.js';
import { NativeWebSocketHub } from './native.js';
import {
  boolean,
  callback,
  checkNames,
  given,
  nonNegativeInteger,
  positiveInteger,
  string,
  strings,
  wrong,
} from './options.js';
import { type Pem, pemText } from './pem.js';
import type { NativeHubOptions, NativeTlsServer } from './port.js';
import type { AnyEvent, TypedEvent } from './types.js';

export type { Connection } from './connection.js';
export type { DisconnectionDetail, HubCallbacks, HubEventTarget, HubLifeCycleEvents } from './hub-target.js';
export type { Limits, QueueOptions } from './limits.js';
export type { Pem } from './pem.js';
export type { NativeAddress } from './port.js';

export interface ListenOptions {
  /** 0 asks the system for a free port; `hub.address` has it after `hub.ready()`. */
  readonly port: number;
  /** Default "127.0.0.1". Anything but loopback needs `anyone: true`. */
  readonly host?: string;
  /** Path of the only URL that upgrades; others get 404. Default: any. */
  readonly path?: string;
  /** Share the port with other processes that ask for the same. Default false. */
  readonly reusePort?: boolean;
}

export interface ServerTlsOptions {
  readonly cert: Pem;
  readonly key: Pem;
  /** Certificate authorities that client certificates are checked against. */
  readonly ca?: Pem;
  /** Refuse clients without a certificate of `ca`. Default false. */
  readonly requestCert?: boolean;
}

/** What a hub's peers may cost together. */
export interface HubLimits extends Limits {
  /** Default 10 000. */
  readonly maxConnections?: number;
  /** Default 10 000. */
  readonly maxTopicsPerConnection?: number;
  /** Default 1 000 000. */
  readonly maxTopics?: number;
}

export interface WebSocketServerOptions<TEvent extends TypedEvent = AnyEvent>
  extends HubCallbacks<TEvent>,
    QueueOptions {
  readonly listen: ListenOptions;
  readonly tls?: ServerTlsOptions;
  /** A connection's events go to the other connections that subscribe, too. Default false. */
  readonly relay?: boolean;
  /** The hub's own listeners hear what is dispatched on it. Default false. */
  readonly echo?: boolean;
  /** How long all readers together wait for one slow reader, once, in milliseconds. Default 250. */
  readonly stallMs?: number;
  readonly limits?: HubLimits;
  /** Whoever reaches the port may connect, publish and subscribe. Needed to bind anything but loopback. */
  readonly anyone?: boolean;
  /** Names besides loopback's own that `Host` may have on a hub bound to loopback. */
  readonly allowedHosts?: readonly string[];
  /** Origins of pages that may connect; default: those whose host and port equal `Host`. */
  readonly allowedOrigins?: readonly string[];
}

/**
 * Makes a hub that accepts WebSocket connections. It binds in the background: `ready()` tells when, or why not.
 *
 * ```js
 * const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
 * await hub.ready();
 * console.log(hub.address.url);
 * ```
 */
export function createWebSocketServerEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: WebSocketServerOptions<TEvent>,
): HubEventTarget<TEvent> {
  checkNames(options, optionNames);
  const callbacks = readCallbacks(options);
  const echo = boolean('echo', options.echo);
  const port = new NativeWebSocketHub(readHubOptions(options));
  return new HubTarget(port, callbacks, { echo });
}

/** The engine numbers connections with twenty bits. */
const MAX_CONNECTIONS = 2 ** 20 - 1;

const hubLimitNames: readonly string[] = [...limitNames, 'maxConnections', 'maxTopicsPerConnection', 'maxTopics'];

const optionNames: readonly string[] = [
  'listen',
  'tls',
  'relay',
  'echo',
  'stallMs',
  'limits',
  'anyone',
  'allowedHosts',
  'allowedOrigins',
  'maxBufferedAmount',
  'maxPendingBytes',
  'onConnection',
  'onDisconnection',
  'onBackpressure',
];

function readCallbacks<TEvent extends TypedEvent>(options: WebSocketServerOptions<TEvent>): HubCallbacks<TEvent> {
  return given({
    onConnection: callback('onConnection', options.onConnection),
    onDisconnection: callback('onDisconnection', options.onDisconnection),
    onBackpressure: callback('onBackpressure', options.onBackpressure),
  });
}

function readHubOptions<TEvent extends TypedEvent>(options: WebSocketServerOptions<TEvent>): NativeHubOptions {
  return {
    ...readListen(options.listen),
    ...readQueues(options),
    ...readHubLimits(options.limits ?? {}),
    ...given({
      tls: options.tls === undefined ? undefined : readTls(options.tls),
      relay: boolean('relay', options.relay),
      stallMs: nonNegativeInteger('stallMs', options.stallMs),
      anyone: boolean('anyone', options.anyone),
      allowedHosts: strings('allowedHosts', options.allowedHosts),
      allowedOrigins: strings('allowedOrigins', options.allowedOrigins),
    }),
    admitByHand: options.onConnection !== undefined,
  };
}

function readListen(listen: ListenOptions): Pick<NativeHubOptions, 'port' | 'host' | 'path' | 'reusePort'> {
  checkNames(listen, ['port', 'host', 'path', 'reusePort'], 'listen');
  const { port } = listen;
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw wrong('port', 'an integer from 0 to 65535', port);
  const path = string('path', listen.path);
  if (path !== undefined && !path.startsWith('/')) throw wrong('path', 'a path that begins with "/"', path);
  return given({ port, host: string('host', listen.host), path, reusePort: boolean('reusePort', listen.reusePort) });
}

function readTls(tls: ServerTlsOptions): NativeTlsServer {
  checkNames(tls, ['cert', 'key', 'ca', 'requestCert'], 'tls');
  const cert = pemText('tls.cert', tls.cert);
  const key = pemText('tls.key', tls.key);
  if (cert === undefined || key === undefined) throw wrong('tls', 'an object with cert and key', tls);
  return given({ cert, key, ca: pemText('tls.ca', tls.ca), requestCert: boolean('requestCert', tls.requestCert) });
}

function readHubLimits(limits: HubLimits): Partial<NativeHubOptions> {
  checkLimits(limits, hubLimitNames);
  const own = {
    maxConnections: positiveInteger('maxConnections', limits.maxConnections, MAX_CONNECTIONS),
    maxTopicsPerConnection: positiveInteger('maxTopicsPerConnection', limits.maxTopicsPerConnection),
    maxTopics: positiveInteger('maxTopics', limits.maxTopics),
  };
  return { ...readLimits(limits), ...given(own) };
}
