// One hub over several ways to get connections. Reads which; what all hubs have in common is read in hub-options.ts.
// Does not know how a hub behaves (hub-target.ts, engine/src/hub.rs).

import { type HubOptions, hubOptionNames, prepareHub } from './hub-options.js';
import type { IrohHubEventTarget } from './hub-target.js';
import { type IrohOptions, readIroh } from './iroh-options.js';
import { checkNames } from './options.js';
import type { AnyEvent, TypedEvent } from './types.js';
import { type WebSocketHubEventTarget, WebSocketHubTarget } from './websocket-hub.js';
import { readDoor, readListenOptions, type WebSocketOptions, webSocketOptionNames } from './websocket-options.js';

export type { Admission, Admitted, Authorize, Grants, PeerInfo } from './authorize.js';
export type { BackplaneTarget } from './backplane.js';
export type { ConnectionOptions, ForeignRequest, ForeignWebSocket, WebSocketFeed } from './carried-sockets.js';
export type { Connection } from './connection.js';
export type { HubLimits, HubOptions } from './hub-options.js';
export type {
  DisconnectionDetail,
  HubCallbacks,
  HubEventTarget,
  HubLifeCycleEvents,
  IrohHubEventTarget,
} from './hub-target.js';
export type { IrohOptions } from './iroh-options.js';
export type { RedisBackplaneOptions } from './redis-options.js';
export type { Attachment, AttachOptions, UpgradeOptions } from './upgrades.js';
export type { WebSocketHubEventTarget } from './websocket-hub.js';
export type { ListenOptions, ServerTlsOptions, WebSocketOptions } from './websocket-options.js';

/** A hub of connections of any kind. */
export interface CreateHubOptions<TEvent extends TypedEvent = AnyEvent> extends HubOptions<TEvent> {
  /** WebSocket connections: where the hub listens for them, and whom it lets in. */
  readonly websocket?: WebSocketOptions;
  /** Iroh connections: the endpoint where they come in. */
  readonly iroh?: IrohOptions;
}

/**
 * Makes a hub: one set of permissions and limits, one `stats()`, whatever its connections come by.
 *
 * ```js
 * const hub = createHub({ relay: true });
 * hub.attach(httpServer, { path: '/events' });
 * ```
 */
export function createHub<TEvent extends TypedEvent = AnyEvent>(
  options: CreateHubOptions<TEvent> = {},
): WebSocketHubEventTarget<TEvent> & IrohHubEventTarget<TEvent> {
  checkNames(options, [...hubOptionNames, 'websocket', 'iroh']);
  const { websocket = {}, iroh, ...common } = options;
  checkNames(websocket, webSocketOptionNames, 'websocket');
  const listen = readListenOptions(websocket);
  const door = readDoor(websocket);
  const addIroh = iroh === undefined ? undefined : readIroh(iroh);
  const { hub, callbacks, settings } = prepareHub(common);
  if (listen !== undefined) hub.listenWebSocket(listen);
  addIroh?.(hub);
  return new WebSocketHubTarget(hub, callbacks, { ...settings, door });
}
