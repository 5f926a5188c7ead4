// The options about WebSocket connections of a hub: where it listens, and whom it lets in there and at servers it is attached to.
// Does not know what all hubs have in common (hub-options.ts).

import { boolean, checkNames, given, invalidOption, string, strings, wrong } from './options.js';
import { type Pem, pemText } from './pem.js';
import type { NativeDoorOptions, NativeListenOptions, NativeTlsServer } from './port.js';

/** Where a hub listens. */
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

/** Certificates of a hub. */
export interface ServerTlsOptions {
  /** The certificate, and behind it those between it and an authority. */
  readonly cert: Pem;
  /** Its private key. */
  readonly key: Pem;
  /** Certificate authorities that client certificates are checked against. */
  readonly ca?: Pem;
  /** Refuse clients without a certificate of `ca`. Default false. */
  readonly requestCert?: boolean;
}

/** How a hub gets WebSocket connections, and from whom. */
export interface WebSocketOptions {
  /** Where the hub listens itself. Without it connections come by `attach`, `handleUpgrade` and `addConnection`. */
  readonly listen?: ListenOptions;
  /** Makes it `wss:`. Default: none. */
  readonly tls?: ServerTlsOptions;
  /** Whoever reaches the port may connect, publish and subscribe. Needed to be reached by anything but loopback without `authorize`. */
  readonly anyone?: boolean;
  /** Names besides loopback's own that `Host` may have on connections that come in on loopback. */
  readonly allowedHosts?: readonly string[];
  /** Origins of pages that may connect; default: those whose host and port equal `Host`. */
  readonly allowedOrigins?: readonly string[];
}

export const webSocketOptionNames: readonly string[] = ['listen', 'tls', 'anyone', 'allowedHosts', 'allowedOrigins'];

/** Whom the hub lets in, wherever they come from. */
export function readDoor(options: WebSocketOptions): NativeDoorOptions {
  return given({
    anyone: boolean('anyone', options.anyone),
    allowedHosts: strings('allowedHosts', options.allowedHosts),
    allowedOrigins: strings('allowedOrigins', options.allowedOrigins),
  });
}

/** Where it listens, if it does. */
export function readListenOptions(options: WebSocketOptions): NativeListenOptions | undefined {
  const { listen, tls } = options;
  if (listen === undefined) {
    if (tls !== undefined) throw invalidOption('tls is for what the hub listens on itself: give listen too');
    return undefined;
  }
  return {
    ...readListen(listen),
    ...readDoor(options),
    ...given({ tls: tls === undefined ? undefined : readTls(tls) }),
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
