// What a hub of WebSocket connections has besides: connections of other people's servers.
// Does not carry them (pump.ts) and does not decide who comes in (the engine does).
// Invariant: what was attached or added is let go when the hub closes; what is the caller's is never closed by that.

import type { Callbacks, HubEventTarget, HubTargetOptions } from './hub-target.js';
import { HubTarget } from './hub-target.js';
import type { Closing } from './life-cycle.js';
import type { NativeDoor, NativeDoorOptions, NativeHubPort } from './port.js';
import { Pump } from './pump.js';
import type { AnyEvent, CloseDetail, TypedEvent } from './types.js';
import {
  type AttachOptions,
  type Attachment,
  checkUpgradeOptions,
  type UpgradeOptions,
  type UpgradeRequest,
  Upgrades,
  type UpgradeServer,
  type UpgradeSocket,
} from './upgrades.js';

export interface WebSocketHubEventTarget<TEvent extends TypedEvent = AnyEvent> extends HubEventTarget<TEvent> {
  /**
   * Takes the WebSocket upgrades of an `http.Server` or `https.Server`: all of them, or those of `path`. The others are left to whoever
   * handles them. The hub does not close the server, and the server does not close the hub's connections.
   */
  attach(server: UpgradeServer, options?: AttachOptions): Attachment;
  /** Takes one upgrade, with what the `upgrade` event brought. The hub answers the request; the socket is its own from now on. */
  handleUpgrade(request: UpgradeRequest, socket: UpgradeSocket, head: Uint8Array, options?: UpgradeOptions): void;
}

export interface WebSocketHubOptions extends HubTargetOptions {
  readonly door: NativeDoorOptions;
}

export class WebSocketHubTarget extends HubTarget implements WebSocketHubEventTarget {
  readonly #port: NativeDoor;
  readonly #options: NativeDoorOptions;
  #upgrades: Upgrades | undefined;

  constructor(port: NativeHubPort & NativeDoor, callbacks: Callbacks, options: WebSocketHubOptions) {
    super(port, callbacks, options);
    this.#port = port;
    this.#options = options.door;
  }

  attach(server: UpgradeServer, options: AttachOptions = {}): Attachment {
    return this.#open().attach(server, options);
  }

  handleUpgrade(request: UpgradeRequest, socket: UpgradeSocket, head: Uint8Array, options: UpgradeOptions = {}): void {
    this.#open().take(request, socket, head, checkUpgradeOptions(options));
  }

  protected override shutDown(closing: Closing): void {
    this.#upgrades?.end();
    super.shutDown(closing);
  }

  protected override ended(detail: CloseDetail): void {
    this.#upgrades?.end();
    super.ended(detail);
  }

  /** Made when it is first needed: most hubs listen themselves. */
  #open(): Upgrades {
    if (this.#upgrades !== undefined) return this.#upgrades;
    const pump = new Pump(this.#port);
    this.#port.openDoor(this.#options, pump.carry, () => {});
    this.#upgrades = new Upgrades(this.#port, pump);
    if (this.isOver) this.#upgrades.end();
    return this.#upgrades;
  }
}
