// A connection of a hub as applications see it, and the target for that connection alone.
// Does not decide when a connection begins or ends: the hub target does, through the link that it shares with both.
// Invariants: once the link is gone everything is a no-op; the signal is made only when it is asked for.

import { type Grants, type Guest, readGrants } from './authorize.js';
import { unpackHeaders } from './headers.js';
import { type Closing, checkClose } from './life-cycle.js';
import type { Exit } from './outbox.js';
import type { ConnectionNotice, NativeHubPort } from './port.js';
import { type Outgoing, TransportTarget } from './transport-target.js';
import type { CloseDetail, TargetStats } from './types.js';
import type { Acknowledgement } from './waiting.js';

/** Close codes that end a connection at once: not identified, refused. Source: the engine, `Hub::disconnect`. */
const EXPELLING: readonly number[] = [4401, 4403];

/** Shared by all connections whose peers offered none. */
const NO_PROTOCOLS: readonly string[] = Object.freeze([]);

/** What the hub knows of a connection and changes as notices come. */
export class ConnectionLink {
  readonly port: NativeHubPort;
  readonly key: number;
  isNative = false;
  isGone = false;
  /** It was told to go at once: what it said before and is on its way here is heard by nobody. */
  isExpelled = false;
  #controller: AbortController | undefined;

  constructor(port: NativeHubPort, key: number) {
    this.port = port;
    this.key = key;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.isGone) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  end(): void {
    this.isGone = true;
    this.#controller?.abort();
  }
}

/** One connection of a hub. */
export class Connection {
  /** Counts up over the life of the hub; never used twice. */
  readonly id: number;
  readonly transport: string;
  /** `host:port` of the peer, where the transport has one. */
  readonly remoteAddress: string | undefined;
  /** Path and query of the request that opened the connection. */
  readonly url: string | undefined;
  /** Subprotocols that the peer offered. */
  readonly protocols: readonly string[];
  /**
   * Who the peer is, with the authority that says so in front: `tls:SHA256:…` for a client certificate, `app:…` for what
   * `authorize.connect` said. Undefined where nobody knows.
   */
  readonly identity: string | undefined;
  /** Yours to use; begins with what `authorize.connect` said. */
  data: unknown;
  readonly #link: ConnectionLink;
  /** Packed until somebody asks for them. */
  #headers: string | Readonly<Record<string, string>>;

  /** @internal Hubs make connections. */
  constructor(link: ConnectionLink, facts: ConnectionNotice, guest?: Guest) {
    const { serial, transport, remoteAddress, url, headers, protocols, identity } = facts;
    this.id = serial;
    this.transport = transport;
    this.remoteAddress = remoteAddress ?? undefined;
    this.url = url ?? undefined;
    this.protocols = protocols.length === 0 ? NO_PROTOCOLS : protocols;
    this.identity = guest === undefined ? (identity ?? undefined) : guest.identity;
    this.data = guest?.data;
    this.#link = link;
    this.#headers = headers;
  }

  /** Headers of the request by lower-case name; values of a repeated header are joined by ", ". */
  get headers(): Readonly<Record<string, string>> {
    if (typeof this.#headers === 'string') this.#headers = unpackHeaders(this.#headers);
    return this.#headers;
  }

  /** The peer has said hello: it acknowledges, and can be told of gaps. */
  get native(): boolean {
    return this.#link.isNative;
  }

  /** Aborted when the connection has ended. */
  get signal(): AbortSignal {
    return this.#link.signal;
  }

  /** Bytes that wait for this connection. */
  get bufferedAmount(): number {
    return this.#link.isGone ? 0 : this.#link.port.connectionBufferedAmount(this.#link.key);
  }

  /**
   * Changes what the peer may do, at once: it is no longer subscribed to what the new list does not allow, and is told. A list that is left
   * out allows nothing.
   */
  setGrants(grants: Grants): void {
    const { identity } = this;
    const lists = readGrants(grants);
    if (!this.#link.isGone)
      this.#link.port.setGrants(this.#link.key, identity === undefined ? lists : { ...lists, identity });
  }

  /**
   * Ends the connection: with 4401 and 4403 at once, what waits for it is dropped and nothing more of it is heard; with other codes after what
   * was written to it. Throws `ERR_INVALID_OPTION` for what no close frame can carry.
   */
  close(code = 1000, reason = ''): void {
    checkClose(code, reason);
    if (this.#link.isGone) return;
    this.#link.isExpelled ||= EXPELLING.includes(code);
    this.#link.port.disconnect(this.#link.key, code, reason);
  }

  stats(): TargetStats {
    return this.#link.isGone ? {} : this.#link.port.connectionStats(this.#link.key);
  }
}

/** What a connection's target needs of its hub. */
interface HubServices {
  send(exit: Exit, event: Outgoing): void;
  flush(): Promise<void>;
  drain(): Promise<void>;
}

/** The target for one connection: it sends whether or not the peer subscribed, and hears that peer's events alone. */
export class ConnectionTarget extends TransportTarget {
  readonly #link: ConnectionLink;
  readonly #connection: Connection;
  readonly #hub: HubServices;
  readonly #exit: Exit;

  constructor(link: ConnectionLink, connection: Connection, hub: HubServices) {
    super();
    const { port, key } = link;
    this.#link = link;
    this.#connection = connection;
    this.#hub = hub;
    this.#exit = {
      publish: (pair, json) => port.publishTo(key, pair, json),
      publishOnce: (type, id, json) => port.publishOnceTo(key, type, id, json),
    };
  }

  /** The peer said hello: it acknowledges from now on. */
  greet(): void {
    this.upgraded();
  }

  get bufferedAmount(): number {
    return this.#connection.bufferedAmount;
  }

  async flush(): Promise<void> {
    if (!this.#link.isGone) await this.#hub.flush();
  }

  async drain(): Promise<void> {
    if (!this.#link.isGone) await this.#hub.drain();
  }

  stats(): TargetStats {
    return this.#connection.stats();
  }

  /** The connection was admitted. */
  admit(): void {
    this.opened({ reconnected: false, native: this.#link.isNative });
  }

  hear(topic: string, type: string, id: string, payload: unknown): void {
    if (!this.isOver) this.emitEnvelope(topic, type, id, payload, this.#connection);
  }

  end(detail: CloseDetail): void {
    this.ended(detail);
  }

  protected override send(event: Outgoing): void {
    if (!this.#link.isGone) this.#hub.send(this.#exit, event);
  }

  protected override listen(topic: string): void {
    this.#link.port.listenTo(this.#link.key, topic);
  }

  protected override unlisten(topic: string): void {
    this.#link.port.unlistenTo(this.#link.key, topic);
  }

  /** The interest of a hub is the hub's own: it is active at once. */
  protected override async confirm(): Promise<Acknowledgement> {
    return { acknowledged: true };
  }

  protected override shutDown({ code, reason }: Closing): void {
    this.#connection.close(code, reason);
  }
}
