// Endpoints of Iroh: a key, its sockets, and who may have connections with it. Reads options; the engine does the work.
// Does not know hubs or spokes; their factories take an endpoint.
// Invariant: what an endpoint carries goes on while nothing refers to the object; only close(), or the end of its thread, ends it. It holds the process only by
// ref(), and until it is bound and while it closes, which both end.

import { PubSubError } from './errors.js';
import { Connection, operate, type WaitOptions } from './iroh-connection.js';
import { bindNative, calling, outcome } from './iroh-native.js';
import { forget, hold, release } from './keep-alive.js';
import { endpointId, NativeEndpoint } from './native.js';
import { checkNames, given, invalidOption, positiveInteger, string, strings, wrong } from './options.js';
import { type Pem, pemText } from './pem.js';
import type { NativeArrivals, NativeConnection, NativeEndpointOptions, NativeRelay } from './port.js';

export type { BiStream, ConnectionEnd, WaitOptions } from './iroh-connection.js';
export { Connection, RecvStream, SendStream } from './iroh-connection.js';
export type { Pem } from './pem.js';

/** A relay of yours, and the token that it wants to see. */
export interface RelayOptions {
  readonly url: string;
  readonly token?: string;
}

/** Where endpoints are reached: socket addresses (`"192.0.2.1:4433"`) and URLs of relays, in any order. */
export type Addresses = string | readonly string[];

export interface EndpointOptions {
  /** Protocols of your own whose connections `accept()` gives. */
  readonly alpns?: readonly string[];
  /** 32 bytes. Default: a new key, so a new id, each time. */
  readonly secretKey?: Uint8Array;
  /** A file with the key, made with mode 0600 where there is none, refused when others may read it. */
  readonly keyFile?: string;
  /** Socket addresses, at most one per family, such as `"127.0.0.1:0"`. Default: all interfaces, any port. */
  readonly bind?: string | readonly string[];
  /**
   * Servers that are contacted. `"none"` (default): nobody. `"default"`: the public relays and the address lookup of n0. A list: these relays
   * alone.
   */
  readonly relays?: 'none' | 'default' | readonly (string | RelayOptions)[];
  /** Authorities that relays are checked against, instead of the usual ones. */
  readonly relayRoots?: Pem;
  /** Where other endpoints are reached, by their ids; more can be added later. */
  readonly addresses?: Readonly<Record<string, Addresses>>;
  /** Only these ids may have connections with this endpoint. Default: everybody. */
  readonly allow?: readonly string[];
  /** These ids may not, also when they are allowed. */
  readonly deny?: readonly string[];
  /** Milliseconds without a packet after which a connection is dead. Default 25 000. */
  readonly idleTimeoutMs?: number;
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
  'idleTimeoutMs',
];

/** An id in the form in which ids are printed and compared: 64 lower-case hex digits. Reads hex, base32, z-base-32 and base58. */
export function parseNodeId(text: string): string {
  if (typeof text !== 'string') throw wrong('id', 'a string', text);
  return calling(() => endpointId(text));
}

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
    const waiting = {};
    hold(waiting);
    try {
      let native: NativeEndpoint | undefined;
      await outcome((onDone) => {
        native = calling(() => new NativeEndpoint(settings, onDone));
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

  /** Where another endpoint is reached; adds to what is known. */
  addAddress(nodeId: string, addresses: Addresses): void {
    const list = readList('addresses', addresses) ?? [];
    const isUrl = (address: string): boolean => address.includes('://');
    const sockets = list.filter((address) => !isUrl(address));
    calling(() => this.#native.addAddress(parseNodeId(nodeId), sockets, list.filter(isUrl)));
  }

  /**
   * Changes who may have connections with this endpoint, hubs and spokes included: only `allow`, if it is given, and never `deny`. Connections
   * of those who may not any more are closed with 4403 at once.
   */
  setAccess({ allow, deny = [] }: AccessLists): void {
    const [allowed, denied] = [strings('allow', allow), strings('deny', deny) ?? []];
    calling(() => this.#native.setAccess(allowed, denied));
  }

  /** Connects to another endpoint by a protocol that it accepts. */
  async connect(nodeId: string, alpn: string, options?: WaitOptions): Promise<Connection> {
    const id = parseNodeId(nodeId);
    if (typeof alpn !== 'string' || alpn === '') throw wrong('alpn', 'a non-empty string', alpn);
    return operate(
      (onDone) => this.#native.connect(id, alpn, onDone),
      (operation) => toConnection(operation.takeConnection()),
      options,
    );
  }

  /** The next connection by one of the protocols in `alpns`. */
  accept(options?: WaitOptions): Promise<Connection> {
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
      if (alpns.length > 0) this.#arrivals = calling(() => this.#native.arrivals(alpns));
      for (const [id, list] of Object.entries(addresses)) this.addAddress(id, list);
      if (allow !== undefined || deny !== undefined) this.setAccess(given({ allow, deny }));
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
  if (secretKey !== undefined && keyFile !== undefined)
    throw invalidOption('secretKey and keyFile exclude each other: give one of them');
  if (secretKey !== undefined && !(secretKey instanceof Uint8Array && secretKey.length === 32))
    throw wrong('secretKey', 'a Uint8Array of 32 bytes', secretKey);
  return {
    bind: readList('bind', options.bind) ?? [],
    ...readRelays(options.relays ?? 'none'),
    ...given({
      secretKey: secretKey === undefined ? undefined : Buffer.from(secretKey),
      keyFile: string('keyFile', keyFile),
      relayRoots: pemText('relayRoots', options.relayRoots),
      idleTimeoutMs: positiveInteger('idleTimeoutMs', options.idleTimeoutMs, MAX_IDLE_MS),
    }),
  };
}

function toConnection(native: NativeConnection | null): Connection {
  if (native === null) throw new PubSubError('ERR_CLOSED', 'the endpoint is closed');
  return new Connection(native);
}

/** A day. */
const MAX_IDLE_MS = 86_400_000;

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
  checkNames(relay, ['url', 'token'], 'relays');
  const url = string('url', relay.url);
  if (url === undefined) throw new PubSubError('ERR_INVALID_OPTION', 'relays: a relay has no url');
  return given({ url, token: string('token', relay.token) }) as NativeRelay;
}
