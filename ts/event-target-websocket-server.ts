// The factory of the WebSocket hub: a hub (hub.ts) whose WebSocket options stand beside the others.

import { createHub } from './hub.js';
import { type HubOptions, hubOptionNames } from './hub-options.js';
import { checkNames, given } from './options.js';
import type { AnyEvent, TypedEvent } from './types.js';
import type { WebSocketHubEventTarget } from './websocket-hub.js';
import { type WebSocketOptions, webSocketOptionNames } from './websocket-options.js';

export type { Admission, Admitted, Authorize, Grants, PeerInfo } from './authorize.js';
export type { BackplaneTarget } from './backplane.js';
export type { ConnectionOptions, ForeignRequest, ForeignWebSocket, WebSocketFeed } from './carried-sockets.js';
export type { Connection } from './connection.js';
export type { HubLimits, HubOptions } from './hub-options.js';
export type { DisconnectionDetail, HubCallbacks, HubEventTarget, HubLifeCycleEvents } from './hub-target.js';
export type { Limits, QueueOptions } from './limits.js';
export type { Pem } from './pem.js';
export type { NativeAddress } from './port.js';
export type { RedisBackplaneOptions } from './redis-options.js';
export type {
  Attachment,
  AttachOptions,
  UpgradeListener,
  UpgradeOptions,
  UpgradeRequest,
  UpgradeServer,
  UpgradeSocket,
} from './upgrades.js';
export type { WebSocketHubEventTarget } from './websocket-hub.js';
export type { ListenOptions, ServerTlsOptions, WebSocketOptions } from './websocket-options.js';

/** A hub of WebSocket connections alone. */
export interface WebSocketServerOptions<TEvent extends TypedEvent = AnyEvent>
  extends HubOptions<TEvent>,
    WebSocketOptions {}

/**
 * Makes a hub of WebSocket connections. With `listen` it binds in the background: `ready()` tells when, or why not. Without it is open at once,
 * and its connections come by `attach`, `handleUpgrade` and `addConnection`.
 *
 * ```js
 * const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, relay: true });
 * await hub.ready();
 * console.log(hub.address.url);
 * ```
 */
export function createWebSocketServerEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: WebSocketServerOptions<TEvent> = {},
): WebSocketHubEventTarget<TEvent> {
  checkNames(options, [...hubOptionNames, ...webSocketOptionNames]);
  const { listen, tls, anyone, allowedHosts, allowedOrigins, ...common } = options;
  return createHub<TEvent>({
    ...common,
    websocket: given({ listen, tls, anyone, allowedHosts, allowedOrigins }) as WebSocketOptions,
  });
}
