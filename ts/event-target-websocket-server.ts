// The factory of the WebSocket hub: reads where it listens. What all hubs have in common is read in hub-options.ts.
// Does not know how a hub behaves (hub-target.ts, engine/src/hub.rs).

import { type HubOptions, hubOptionNames, makeHub } from './hub-options.js';
import type { HubEventTarget } from './hub-target.js';
import { boolean, checkNames, given, string, strings, wrong } from './options.js';
import { type Pem, pemText } from './pem.js';
import type { NativeListenOptions, NativeTlsServer } from './port.js';
import type { AnyEvent, TypedEvent } from './types.js';

export type { Admission, Admitted, Authorize, Grants, PeerInfo } from './authorize.js';
export type { Connection } from './connection.js';
export type { HubLimits, HubOptions } from './hub-options.js';
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

export interface WebSocketServerOptions<TEvent extends TypedEvent = AnyEvent> extends HubOptions<TEvent> {
  readonly listen: ListenOptions;
  readonly tls?: ServerTlsOptions;
  /** Whoever reaches the port may connect, publish and subscribe. Needed to bind anything but loopback without `authorize`. */
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
  checkNames(options, [...hubOptionNames, 'listen', 'tls', 'anyone', 'allowedHosts', 'allowedOrigins']);
  const listen = readListenOptions(options);
  return makeHub(options, (hub) => hub.listenWebSocket(listen));
}

function readListenOptions<TEvent extends TypedEvent>(options: WebSocketServerOptions<TEvent>): NativeListenOptions {
  return {
    ...readListen(options.listen),
    ...given({
      tls: options.tls === undefined ? undefined : readTls(options.tls),
      anyone: boolean('anyone', options.anyone),
      allowedHosts: strings('allowedHosts', options.allowedHosts),
      allowedOrigins: strings('allowedOrigins', options.allowedOrigins),
    }),
  };
}

function readListen(listen: ListenOptions): Pick<NativeListenOptions, 'port' | 'host' | 'path' | 'reusePort'> {
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
