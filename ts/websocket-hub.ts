// What a hub of WebSocket connections has besides: connections of other people's servers.
// Does not carry them (pump.ts, carried-sockets.ts) and does not decide who comes in (the engine does).
// Invariant: what was attached or added is let go when the hub closes; what is the caller's is never closed by that.

import {
  CarriedSockets,
  type ConnectionOptions,
  type ForeignWebSocket,
  type WebSocketFeed,
} from './carried-sockets.js';
import type { Callbacks, HubEventTarget, HubTargetOptions } from './hub-target.js';
import { HubTarget } from './hub-target.js';
import type { Closing } from './life-cycle.js';
import type { NativeDoor, NativeDoorOptions, NativeHubPort } from './port.js';
import { Pump } from './pump.js';
import type { AnyEvent, CloseDetail, TypedEvent } from './types.js';
import {
  type Attachment,
  type AttachOptions,
  checkUpgradeOptions,
  type UpgradeOptions,
  type UpgradeRequest,
  type UpgradeServer,
  type UpgradeSocket,
  Upgrades,
} from './upgrades.js';

/** A hub that takes WebSocket connections. */
export interface WebSocketHubEventTarget<TEvent extends TypedEvent = AnyEvent> extends HubEventTarget<TEvent> {
  /**
   * Takes the WebSocket upgrades of an `http.Server` or `https.Server`: all of them, or those of `path`. The others are left to whoever
   * handles them. The hub does not close the server, and the server does not close the hub's connections.
   */
  attach(server: UpgradeServer, options?: AttachOptions): Attachment;
  /** Takes one upgrade, with what the `upgrade` event brought. The hub answers the request; the socket is its own from now on. */
  handleUpgrade(request: UpgradeRequest, socket: UpgradeSocket, head: Uint8Array, options?: UpgradeOptions): void;
  /**
   * Takes a WebSocket that another library has made and that stays yours: its handlers are replaced until it is removed or closes, and are there
   * again afterwards; a close or error is passed on to them. A socket without handlers of its own (Bun, Hono) is fed by what is returned. Adding
   * it again changes nothing.
   */
  addConnection(socket: ForeignWebSocket, options?: ConnectionOptions): WebSocketFeed;
  /** Lets a WebSocket go and leaves it open. One that was not added, or is gone, is no error. */
  removeConnection(socket: ForeignWebSocket): void;
}

/** What a hub has for other people's servers once it needs it. */
interface Entrance {
  readonly upgrades: Upgrades;
  readonly sockets: CarriedSockets;
}

interface WebSocketHubOptions extends HubTargetOptions {
  readonly door: NativeDoorOptions;
}

export class WebSocketHubTarget extends HubTarget implements WebSocketHubEventTarget {
  readonly #port: NativeDoor;
  readonly #options: NativeDoorOptions;
  #entrance: Entrance | undefined;

  constructor(port: NativeHubPort & NativeDoor, callbacks: Callbacks, options: WebSocketHubOptions) {
    super(port, callbacks, options);
    this.#port = port;
    this.#options = options.door;
  }

  attach(server: UpgradeServer, options: AttachOptions = {}): Attachment {
    return this.#open().upgrades.attach(server, options);
  }

  handleUpgrade(request: UpgradeRequest, socket: UpgradeSocket, head: Uint8Array, options: UpgradeOptions = {}): void {
    this.#open().upgrades.take(request, socket, head, checkUpgradeOptions(options));
  }

  addConnection(socket: ForeignWebSocket, options: ConnectionOptions = {}): WebSocketFeed {
    return this.#open().sockets.add(socket, options);
  }

  removeConnection(socket: ForeignWebSocket): void {
    this.#open().sockets.remove(socket);
  }

  protected override shutDown(closing: Closing): void {
    this.#entrance?.upgrades.end();
    super.shutDown(closing);
  }

  protected override ended(detail: CloseDetail): void {
    this.#entrance?.upgrades.end();
    this.#entrance?.sockets.end();
    super.ended(detail);
  }

  /** Made when it is first needed: most hubs listen themselves. */
  #open(): Entrance {
    if (this.#entrance !== undefined) return this.#entrance;
    const pump = new Pump(this.#port);
    const upgrades = new Upgrades(this.#port, pump);
    const sockets = new CarriedSockets(this.#port, () => !this.isOver);
    this.#port.openDoor(this.#options, pump.carry, sockets.carry);
    this.#entrance = { upgrades, sockets };
    if (this.isOver) upgrades.end();
    return this.#entrance;
  }
}
