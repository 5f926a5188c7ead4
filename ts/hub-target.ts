// What every hub adds to a native target: connections, the callbacks about them, and whose event it was.
// Does not listen on a network and does not read options; each transport's factory does.
// Invariants: per connection the order is onConnection → `connection` event → first event → `disconnection` event →
// onDisconnection, each at most once; a connection that left while onConnection was pending is never announced.

import { type Authorize, Doorman } from './authorize.js';
import { Connection, ConnectionLink, ConnectionTarget } from './connection.js';
import { PubSubError } from './errors.js';
import { operate, type WaitOptions } from './iroh-connection.js';
import { PortTarget, type PortTargetOptions } from './native-target.js';
import { wrong } from './options.js';
import type { ConnectionNotice, NativeAddress, NativeHubPort, Notice } from './port.js';
import { sourceOf } from './target-event.js';
import type { AnyEvent, CloseDetail, LifeCycleEvents, NativeTarget, TypedEvent } from './types.js';

/** The life-cycle events of hubs. */
export interface HubLifeCycleEvents extends LifeCycleEvents {
  connection: { readonly connection: Connection };
  disconnection: DisconnectionDetail;
  backpressure: { readonly connection: Connection; readonly bufferedAmount: number };
}

/** A connection that has ended. */
export interface DisconnectionDetail {
  readonly connection: Connection;
  /** The close code: of the side that closed, 1006 where nobody did. */
  readonly code: number;
  /** What the side that closed said; often empty. */
  readonly reason: string;
  /** False when the peer vanished without a close. */
  readonly clean: boolean;
}

/** Callbacks about connections. What they throw becomes an `error` event with code `ERR_HANDLER_FAILED`. */
export interface HubCallbacks<TEvent extends TypedEvent = AnyEvent> {
  /**
   * A connection came. `spoke` is a target for it alone: it sends whether or not the peer subscribed, and hears that peer's events
   * alone. Nothing is read from the peer until this has returned or its promise has settled; a throw or rejection ends the
   * connection with 1011.
   */
  readonly onConnection?: (spoke: NativeTarget<TEvent>, connection: Connection) => void | PromiseLike<void>;
  /** It is gone; the last that is heard of it. */
  readonly onDisconnection?: (spoke: NativeTarget<TEvent>, connection: Connection) => void | PromiseLike<void>;
  /** It read too slowly and is being closed with 1013. */
  readonly onBackpressure?: (connection: Connection, bufferedAmount: number) => void;
}

/** A hub: a target over many connections. */
export interface HubEventTarget<TEvent extends TypedEvent = AnyEvent> extends NativeTarget<TEvent, HubLifeCycleEvents> {
  /** Connections that were announced and have not gone. */
  readonly connections: ReadonlySet<Connection>;
  /** Where the hub listens; `null` before it is bound and after it has closed. */
  readonly address: NativeAddress | null;
  /** How many connections subscribe to a topic. */
  subscribers(topic: string): number;
  /** The connection that an event came from; `undefined` for events of this process. */
  sourceOf(event: Event | TypedEvent): Connection | undefined;
}

/** A hub with an Iroh endpoint. */
export interface IrohHubEventTarget<TEvent extends TypedEvent = AnyEvent> extends HubEventTarget<TEvent> {
  /**
   * Calls a spoke that waits for it (`accept` of `createIrohSpokeEventTarget`). One attempt: it resolves when the spoke's link is the hub's, and
   * rejects as a spoke's first attempt does. The spoke is then a connection like all others; call again when it was lost. Takes the spoke's id,
   * or a ticket of it.
   */
  dial(nodeId: string, options?: WaitOptions): Promise<void>;
}

/** The callbacks without the types of events, which exist for the compiler alone. */
export interface Callbacks {
  onConnection?(spoke: ConnectionTarget, connection: Connection): unknown;
  onDisconnection?(spoke: ConnectionTarget, connection: Connection): unknown;
  onBackpressure?(connection: Connection, bufferedAmount: number): unknown;
}

/** What the hub keeps about a connection besides its link. */
interface Peer {
  readonly link: ConnectionLink;
  readonly connection: Connection;
  readonly spoke: ConnectionTarget | undefined;
  /** onConnection has not settled. */
  isPending: boolean;
  /** The `connection` event was raised. */
  isAnnounced: boolean;
  departure: DisconnectionDetail | undefined;
}

export interface HubTargetOptions extends PortTargetOptions {
  readonly authorize?: Authorize | undefined;
}

export class HubTarget extends PortTarget implements IrohHubEventTarget {
  readonly #port: NativeHubPort;
  readonly #doorman: Doorman | undefined;
  readonly #callbacks: Callbacks;
  readonly #peers = new Map<number, Peer>();
  readonly #connections = new Set<Connection>();

  constructor(port: NativeHubPort, callbacks: Callbacks, options: HubTargetOptions) {
    super(port, options);
    this.#port = port;
    if (options.authorize !== undefined) this.#doorman = new Doorman(options.authorize);
    this.#callbacks = callbacks;
  }

  get connections(): ReadonlySet<Connection> {
    return this.#connections;
  }

  get address(): NativeAddress | null {
    return this.state === 'open' ? this.#port.address() : null;
  }

  subscribers(topic: string): number {
    return this.state === 'closed' ? 0 : this.#port.subscribers(topic);
  }

  async dial(nodeId: string, options?: WaitOptions): Promise<void> {
    if (typeof nodeId !== 'string') throw wrong('nodeId', 'a string', nodeId);
    await this.ready();
    await operate(
      (onDone) => this.#port.callIroh(nodeId, onDone),
      () => {},
      options,
    );
  }

  sourceOf(event: Event | TypedEvent): Connection | undefined {
    const source = sourceOf(event as Event);
    return source instanceof Connection ? source : undefined;
  }

  protected override receive(topic: string, type: string, id: string, payload: unknown, connection: number): void {
    if (this.isOver) return;
    const peer = this.#peers.get(connection);
    if (peer?.link.isExpelled) return;
    this.emitEnvelope(topic, type, id, payload, peer?.connection);
    peer?.spoke?.hear(topic, type, id, payload);
  }

  protected override notice(notice: Notice): void {
    switch (notice.kind) {
      case 'authorize':
        return void this.#judge(notice);
      case 'withdrawn':
        return this.#doorman?.withdraw(notice.token);
      case 'authorizeSubscribe':
        return void this.#allow(notice.token, notice.topic, this.#peers.get(notice.connection));
      case 'connection':
        return this.#arrive(notice);
      case 'hello':
        return this.#withPeer(notice.connection, (peer) => {
          peer.link.isNative = true;
          peer.spoke?.greet();
        });
      case 'disconnection':
        return this.#withPeer(notice.connection, (peer) => this.#depart(peer, notice));
      case 'backpressure':
        return this.#withPeer(notice.connection, (peer) => this.#warnOf(peer.connection, notice.bufferedAmount));
      default:
        return super.notice(notice);
    }
  }

  protected override ended(detail: CloseDetail): void {
    // The engine takes its leave of every connection first; this is for one that it forgot.
    for (const peer of [...this.#peers.values()]) this.#depart(peer, { ...detail, clean: false });
    super.ended(detail);
  }

  #withPeer(key: number, act: (peer: Peer) => void): void {
    const peer = this.#peers.get(key);
    if (peer !== undefined) act(peer);
  }

  async #judge({ token, ...facts }: Extract<Notice, { kind: 'authorize' }>): Promise<void> {
    try {
      const verdict = await this.#doorman?.judge(token, facts);
      if (verdict !== undefined) this.#port.judge(token, verdict);
    } catch (error) {
      this.#doorman?.withdraw(token);
      this.#port.judge(token, { refusal: 'unavailable' });
      this.#report('authorize.connect', error);
    }
  }

  async #allow(token: number, topic: string, peer: Peer | undefined): Promise<void> {
    let isAllowed = false;
    try {
      if (peer?.link.isExpelled === false) isAllowed = (await this.#doorman?.allows(topic, peer.connection)) === true;
    } catch (error) {
      this.#report('authorize.subscribe', error);
    }
    this.#port.allow(token, isAllowed);
  }

  #arrive(facts: ConnectionNotice): void {
    const link = new ConnectionLink(this.#port, facts.connection);
    const connection = new Connection(link, facts, this.#doorman?.take(facts.ticket));
    const { onConnection } = this.#callbacks;
    const spoke = onConnection === undefined ? undefined : this.#targetOf(link, connection);
    const peer: Peer = { link, connection, spoke, isPending: true, isAnnounced: false, departure: undefined };
    this.#peers.set(link.key, peer);
    if (spoke === undefined) this.#admit(peer);
    else
      this.#settle(
        () => onConnection?.(spoke, connection),
        () => this.#admit(peer),
        (error) => this.#refuse(peer, error),
      );
  }

  #targetOf(link: ConnectionLink, connection: Connection): ConnectionTarget {
    return new ConnectionTarget(link, connection, {
      send: (exit, event) => void this.sendBy(exit, event),
      flush: () => this.flush(),
      drain: () => this.drain(),
    });
  }

  /** Calls a callback and goes on when it is done: in the same turn when it returned no promise. */
  #settle(callback: () => unknown, done: () => void, failed: (error: unknown) => void): void {
    try {
      const result = callback();
      if (isPromiseLike(result)) return void result.then(done, failed);
    } catch (error) {
      return failed(error);
    }
    done();
  }

  #admit(peer: Peer): void {
    peer.isPending = false;
    if (peer.departure !== undefined) return this.#farewell(peer, peer.departure);
    if (this.isOver) return;
    peer.isAnnounced = true;
    this.#connections.add(peer.connection);
    this.emit('connection', { connection: peer.connection });
    peer.spoke?.admit();
    if (peer.spoke !== undefined && !peer.link.isGone) this.#port.admit(peer.link.key);
  }

  #refuse(peer: Peer, error: unknown): void {
    peer.isPending = false;
    this.#report('onConnection', error);
    if (peer.departure !== undefined) return this.#farewell(peer, peer.departure);
    peer.connection.close(1011, 'onConnection failed');
  }

  #depart(peer: Peer, { code, reason, clean }: Omit<DisconnectionDetail, 'connection'>): void {
    const { connection, link } = peer;
    this.#peers.delete(link.key);
    this.#connections.delete(connection);
    link.end();
    peer.spoke?.end({ code, reason });
    peer.departure = { connection, code, reason, clean };
    if (!peer.isPending) this.#farewell(peer, peer.departure);
  }

  #farewell(peer: Peer, departure: DisconnectionDetail): void {
    if (peer.isAnnounced) this.emit('disconnection', departure);
    const { onDisconnection } = this.#callbacks;
    if (onDisconnection === undefined) return;
    // Without onConnection nobody has paid for a target per connection; the callback gets one that has ended already.
    const spoke = peer.spoke ?? this.#endedTarget(peer, departure);
    const failed = (error: unknown): void => this.#report('onDisconnection', error);
    this.#settle(
      () => onDisconnection(spoke, peer.connection),
      () => {},
      failed,
    );
  }

  #endedTarget({ link, connection }: Peer, { code, reason }: CloseDetail): ConnectionTarget {
    const spoke = this.#targetOf(link, connection);
    spoke.end({ code, reason });
    return spoke;
  }

  #warnOf(connection: Connection, bufferedAmount: number): void {
    const { onBackpressure } = this.#callbacks;
    const failed = (error: unknown): void => this.#report('onBackpressure', error);
    this.#settle(
      () => onBackpressure?.(connection, bufferedAmount),
      () => {},
      failed,
    );
    this.emit('backpressure', { connection, bufferedAmount });
  }

  #report(callback: string, cause: unknown): void {
    const why = cause instanceof Error ? cause.message : String(cause);
    this.raise(
      new PubSubError('ERR_HANDLER_FAILED', `${callback} failed: ${why}; handle its errors inside it`, { cause }),
    );
  }
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function';
}
