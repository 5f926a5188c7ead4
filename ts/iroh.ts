// Endpoints of Iroh: a key, its sockets, and who may have connections with it. Reads options; the engine does the work.
// Does not know hubs or spokes; their factories take an endpoint.
// Invariant: what an endpoint carries goes on while nothing refers to the object; only close(), or the end of its thread, ends it. It holds the process only by
// ref(), and until it is bound and while it closes, which both end.

import { PubSubError } from './errors.js';
import { NativeEndpoint } from './iroh-addon.js';
import { type Addresses, parseNodeId, parseTicket, sortAddresses } from './iroh-address.js';
import { Connection, type ConnectionPath, operate, type WaitOptions } from './iroh-connection.js';
import { type IncomingFilter, screen } from './iroh-incoming.js';
import { bindNative, calling, outcome } from './iroh-native.js';
import { forget, hold, release } from './keep-alive.js';
import {
  callback,
  checkNames,
  given,
  invalidOption,
  nonNegativeInteger,
  positiveInteger,
  string,
  strings,
  wrong,
} from './options.js';
import { type Pem, pemText } from './pem.js';
import type {
  NativeArrivals,
  NativeConnection,
  NativeEndpointOptions,
  NativeRelay,
  NativeRelayStatus,
} from './port.js';

export { type Addresses, type EndpointAddress, formatTicket, parseNodeId, parseTicket } from './iroh-address.js';
export type { BiStream, ConnectionEnd, ConnectionPath, ConnectionStats, WaitOptions } from './iroh-connection.js';
export { Connection, RecvStream, SendStream } from './iroh-connection.js';
export type { IncomingFilter, IncomingInfo } from './iroh-incoming.js';
export type { Pem } from './pem.js';

/** A relay of yours. */
export interface RelayOptions {
  readonly url: string;
  /** What it wants to see. */
  readonly token?: string;
  /**
   * The UDP port by which a relay with TLS tells endpoints their addresses as it sees them: without them a NAT is seldom passed directly. 0: it has
   * none. Default 7842, what relays of iroh have.
   */
  readonly quicPort?: number;
}

export interface EndpointOptions {
  /** Protocols of your own whose connections `accept()` gives. */
  readonly alpns?: readonly string[];
  /** 32 bytes. Default: a new key, so a new id, each time. */
  readonly secretKey?: Uint8Array;
  /** A file with the key, made with mode 0600 where there is none, refused when others may read it. */
  readonly keyFile?: string;
  /**
   * Socket addresses, at most one per family, such as `"127.0.0.1:0"`. Default: all interfaces, any port. `[]`: no sockets, everything goes
   * through relays.
   */
  readonly bind?: string | readonly string[];
  /**
   * Servers that are contacted. `"none"` (default): nobody. `"default"`: the public relays and the address lookup of n0. A list: these relays
   * alone.
   */
  readonly relays?: 'none' | 'default' | readonly (string | RelayOptions)[];
  /** Authorities that relays are checked against, instead of the usual ones. */
  readonly relayRoots?: Pem;
  /** Where other endpoints are reached, by their ids, or as a list of tickets; more can be added later. */
  readonly addresses?: Readonly<Record<string, Addresses>> | readonly string[];
  /** Only these ids may have connections with this endpoint. Default: everybody. */
  readonly allow?: readonly string[];
  /** These ids may not, also when they are allowed. */
  readonly deny?: readonly string[];
  /**
   * Asked about everybody who comes in and whom the lists let in, before a hub, a spoke that waits or `accept()` hears of it. Not asked about whom
   * this endpoint dials. While it thinks, JavaScript is blocked or it fails, nobody is let in.
   */
  readonly incoming?: IncomingFilter;
  /** Milliseconds that `incoming` has for each; then they are closed with 4408. Default 10 000. */
  readonly incomingTimeoutMs?: number;
  /** Milliseconds without a packet after which a connection is dead. Default 25 000. */
  readonly idleTimeoutMs?: number;
}

/** A relay of an endpoint. */
export interface RelayStatus {
  readonly url: string;
  /** It has taken the endpoint, which is reached through it. */
  readonly connected: boolean;
  /** Why it has not, as far as that is known. */
  readonly error: string | undefined;
}

/** What an endpoint has counted since it was bound. */
export interface EndpointStats {
  /** Connections that live, those of hubs and spokes among them. */
  readonly connections: number;
  /** Connections that came in and that the lists and `incoming` let in. */
  readonly accepted: number;
  /** Connections that were made by dialling. */
  readonly dialled: number;
  /** Connections, of both directions, that the lists refused. */
  readonly denied: number;
  /** Connections that came in and that `incoming` did not let in: its answer was no, failed or late, or 256 waited for it. */
  readonly refused: number;
  /** Handshakes that came in and failed, or took too long. */
  readonly failed: number;
  /** Handshakes that were refused because 1024 were under way. */
  readonly crowdedOut: number;
  /** First packets that were answered with the demand to prove their address, because 256 handshakes or more were under way. */
  readonly retried: number;
}

/** Who may have connections with an endpoint. */
export interface AccessLists {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
}

const names: readonly string[] = [
  'alpns',
  'secretKey',
  'keyFile',
  'bind',
  'relays',
  'relayRoots',
  'addresses',
  'allow',
  'deny',
  'incoming',
  'incomingTimeoutMs',
  'idleTimeoutMs',
];

/**
 * Who you are among endpoints, and the sockets through which hubs, spokes and connections go.
 *
 * ```js
 * const endpoint = await Endpoint.createWithOptions({ keyFile: 'node.key', bind: '127.0.0.1:0' });
 * console.log(endpoint.nodeId(), endpoint.addresses());
 * ```
 */
export class Endpoint implements AsyncDisposable {
  readonly #native: NativeEndpoint;
  #arrivals: NativeArrivals | undefined;
  #id: string | undefined;
  #closing: Promise<void> | undefined;

  private constructor(native: NativeEndpoint) {
    this.#native = native;
    bindNative(this, native);
  }

  /** A new endpoint with a new key, on all interfaces, that contacts nobody by itself. */
  static create(): Promise<Endpoint> {
    return Endpoint.createWithOptions({});
  }

  /** A new endpoint. Rejects with `ERR_LISTEN` when an address cannot be had. */
  static async createWithOptions(options: EndpointOptions): Promise<Endpoint> {
    const settings = readOptions(options);
    const { incoming } = options;
    const waiting = {};
    hold(waiting);
    try {
      let native: NativeEndpoint | undefined;
      await outcome((onDone) => {
        const ask = incoming && ((): void => screen(native as NativeEndpoint, incoming));
        native = calling(() => new NativeEndpoint(settings, onDone, ask));
      });
      const endpoint = new Endpoint(native as NativeEndpoint);
      endpoint.#configure(options);
      return endpoint;
    } finally {
      forget(waiting);
    }
  }

  /** 64 lower-case hex digits. */
  nodeId(): string {
    this.#id ??= calling(() => this.#native.id());
    return this.#id;
  }

  /** Where others reach it, as far as it knows: socket addresses, then relays. With `0.0.0.0` bound, those of the interfaces. */
  addresses(): readonly string[] {
    const { sockets, relays } = calling(() => this.#native.addresses());
    return [...sockets, ...relays];
  }

  /** The addresses of its sockets. */
  boundSockets(): readonly string[] {
    return calling(() => this.#native.sockets());
  }

  /** Who and where it is, as one text for others to read: a ticket. Its addresses are those of now. */
  ticket(): string {
    return calling(() => this.#native.ticket());
  }

  /**
   * Where others reach it: at once, and again whenever that changes. Ends when the endpoint closes; `signal` ends it with its reason,
   * `timeoutMs` limits each wait. What changed twice between two steps is told once.
   *
   * ```js
   * for await (const addresses of endpoint.watchAddr({ signal })) console.log(addresses);
   * ```
   */
  async *watchAddr(options?: WaitOptions): AsyncGenerator<readonly string[], void, undefined> {
    const watch = calling(() => this.#native.watch());
    for (;;) {
      const address = await operate(
        (onDone) => watch.next(onDone),
        (operation) => operation.takeAddress(),
        options,
      );
      if (address === null) return;
      yield [...address.sockets, ...address.relays];
    }
  }

  /** Waits until a relay has taken the endpoint, so that it is reached through it. `ERR_FORBIDDEN` when the relay refuses it. */
  online(options?: WaitOptions): Promise<void> {
    return operate(
      (onDone) => this.#native.online(onDone),
      () => {},
      options,
    );
  }

  /** The relay that it has chosen among its own, if any, and whether that has taken it. */
  relays(): readonly RelayStatus[] {
    const read = ({ url, connected, error }: NativeRelayStatus): RelayStatus => ({
      url,
      connected,
      error: error ?? undefined,
    });
    return calling(() => this.#native.relays()).map(read);
  }

  /**
   * The ways that packets take to and from another endpoint, over all connections with it: links of hubs and spokes among them. Empty when
   * there is none.
   */
  paths(nodeId: string): readonly ConnectionPath[] {
    return calling(() => this.#native.paths(parseNodeId(nodeId)));
  }

  /** What it has counted since it was bound. */
  stats(): EndpointStats {
    return calling(() => this.#native.stats());
  }

  /** Where another endpoint is reached; adds to what is known. A ticket says who as well. */
  addAddress(ticket: string): void;
  addAddress(nodeId: string, addresses: Addresses): void;
  addAddress(nodeId: string, where?: Addresses): void {
    const { nodeId: id, addresses } = parseTicket(nodeId);
    const { sockets, relays } = sortAddresses(id, where ?? addresses);
    if (sockets.length + relays.length === 0) throw wrong('addresses', 'an address, or nodeId a ticket', where);
    calling(() => this.#native.addAddress(id, sockets, relays));
  }

  /**
   * Changes who may have connections with this endpoint, hubs and spokes included: only `allow`, if it is given, and never `deny`. Connections
   * of those who may not any more are closed with 4403 at once.
   */
  setAccess({ allow, deny = [] }: AccessLists): void {
    const [allowed, denied] = [strings('allow', allow), strings('deny', deny) ?? []];
    calling(() => this.#native.setAccess(allowed, denied));
  }

  /** Connects to another endpoint, by its id or a ticket of it, and by a protocol that it accepts. */
  async connect(nodeId: string, alpn: string, options?: WaitOptions): Promise<Connection> {
    if (typeof nodeId !== 'string') throw wrong('nodeId', 'a string', nodeId);
    if (typeof alpn !== 'string' || alpn === '') throw wrong('alpn', 'a non-empty string', alpn);
    return operate(
      (onDone) => this.#native.connect(nodeId, alpn, onDone),
      (operation) => toConnection(operation.takeConnection()),
      options,
    );
  }

  /** The next connection by one of the protocols in `alpns`; those that have ended before are passed over. */
  async accept(options?: WaitOptions): Promise<Connection> {
    const arrivals = this.#arrivals;
    if (arrivals === undefined) throw invalidOption('nothing is accepted: give alpns to createWithOptions');
    return operate(
      (onDone) => arrivals.next(onDone),
      (operation) => toConnection(operation.takeConnection()),
      options,
    );
  }

  /**
   * Keeps the process alive until `close()` or `unref()`. Without it an endpoint does not, and neither does whatever waits for a connection, a
   * stream or bytes; hubs and spokes keep it alive by themselves.
   */
  ref(): this {
    if (this.#closing === undefined) hold(this);
    return this;
  }

  /** Takes `ref()` back. */
  unref(): this {
    release(this);
    return this;
  }

  /**
   * Closes the endpoint. Hubs and spokes that were closed before have said goodbye then; the connections of others are closed with 1001. Never
   * rejects; the same promise each time.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const id = calling(() => this.#native.id());
    this.#id = id;
    hold(this);
    try {
      await outcome((onDone) => this.#native.close(onDone));
    } finally {
      forget(this);
    }
  }

  #configure({ addresses = {}, allow, deny, alpns = [] }: EndpointOptions): void {
    try {
      // First: nobody comes in before the lists are there.
      if (allow !== undefined || deny !== undefined) this.setAccess(given({ allow, deny }));
      if (alpns.length > 0) this.#arrivals = calling(() => this.#native.arrivals(alpns));
      if (Array.isArray(addresses)) for (const ticket of strings('addresses', addresses) ?? []) this.addAddress(ticket);
      else for (const [id, list] of Object.entries(addresses)) this.addAddress(id, list);
    } catch (error) {
      void this.close();
      throw error;
    }
  }
}

function readOptions(options: EndpointOptions): NativeEndpointOptions {
  checkNames(options, names);
  const { secretKey, keyFile } = options;
  strings('alpns', options.alpns);
  callback('incoming', options.incoming);
  if (secretKey !== undefined && keyFile !== undefined)
    throw invalidOption('secretKey and keyFile exclude each other: give one of them');
  if (secretKey !== undefined && !(secretKey instanceof Uint8Array && secretKey.length === 32))
    throw wrong('secretKey', 'a Uint8Array of 32 bytes', secretKey);
  const bind = readList('bind', options.bind);
  return {
    bind: bind ?? [],
    isRelayOnly: bind?.length === 0,
    ...readRelays(options.relays ?? 'none'),
    ...given({
      secretKey: secretKey === undefined ? undefined : Buffer.from(secretKey),
      keyFile: string('keyFile', keyFile),
      relayRoots: pemText('relayRoots', options.relayRoots),
      idleTimeoutMs: positiveInteger('idleTimeoutMs', options.idleTimeoutMs, MAX_LIMIT_MS),
      incomingTimeoutMs: positiveInteger('incomingTimeoutMs', options.incomingTimeoutMs, MAX_LIMIT_MS),
    }),
  };
}

function toConnection(native: NativeConnection | null): Connection {
  if (native === null) throw new PubSubError('ERR_CLOSED', 'the endpoint is closed');
  return new Connection(native);
}

const MAX_PORT = 65_535;
/** A day, for either limit. */
const MAX_LIMIT_MS = 86_400_000;

function readList(name: string, value: string | readonly string[] | undefined): readonly string[] | undefined {
  return strings(name, typeof value === 'string' ? [value] : value);
}

function readRelays(relays: unknown): Pick<NativeEndpointOptions, 'relays' | 'ownRelays'> {
  if (relays === 'none' || relays === 'default') return { relays, ownRelays: [] };
  if (!Array.isArray(relays)) throw wrong('relays', '"none", "default" or a list of URLs', relays);
  return { relays: 'own', ownRelays: relays.map(readRelay) };
}

function readRelay(relay: string | RelayOptions): NativeRelay {
  if (typeof relay === 'string') return { url: relay };
  checkNames(relay, ['url', 'token', 'quicPort'], 'relays');
  const url = string('url', relay.url);
  if (url === undefined) throw new PubSubError('ERR_INVALID_OPTION', 'relays: a relay has no url');
  const quicPort = nonNegativeInteger('quicPort', relay.quicPort, MAX_PORT);
  return given({ url, token: string('token', relay.token), quicPort }) as NativeRelay;
}
