// The shape that every native target class has: the border between this folder and src/. Types and constants only.
// Decision record: docs/decisions/0001-first-path.md.
// Invariant: whatever crosses here is a number, a string, an object of a notice or of options, or a native object given back.

import type { GapDetail } from './types.js';

/** What `publish` and its kin answer. */
export const ACCEPTED = 0;
/** The pair was forgotten in the meantime: intern it again. */
export const STALE = 1;
export const TOO_LARGE = 2;
// 3: no room; 4: closed. The engine has counted and reported both, and nobody here asks.

/** Most entries that one `take` brings. */
export const MAX_BATCH = 512;
/** Numbers before the first entry of `take`: how many entries, and whether more wait. */
export const META_HEAD = 2;
/** Numbers per entry: pair, length in UTF-16 units, connection. */
export const META_ENTRY = 3;
/** How many pairs each direction keeps. */
export const MAX_PAIRS = 4096;

export interface ErrorNotice {
  readonly code: string;
  readonly message: string;
}

/** What the engine knows of a peer. */
export interface PeerFacts {
  readonly transport: string;
  readonly remoteAddress: string | null;
  readonly url: string | null;
  /** Packed: see `headers.ts`. */
  readonly headers: string;
  readonly protocols: readonly string[];
  readonly identity: string | null;
}

export interface ConnectionNotice extends PeerFacts {
  readonly connection: number;
  readonly serial: number;
  /** The token of the `authorize` that let it in, or 0. */
  readonly ticket: number;
}

/** What the engine tells of a link, in its place among the events. */
export type Notice =
  | { readonly kind: 'open'; readonly reconnected: boolean; readonly native: boolean }
  | { readonly kind: 'reconnecting'; readonly attempt: number; readonly delayMs: number; readonly cause: ErrorNotice }
  | ({ readonly kind: 'gap' } & GapDetail)
  | ({ readonly kind: 'error'; readonly dropped?: number } & ErrorNotice)
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string; readonly error?: ErrorNotice }
  | { readonly kind: 'confirmed'; readonly token: number; readonly acknowledged: boolean; readonly error?: ErrorNotice }
  | { readonly kind: 'flushed' | 'drained'; readonly token: number }
  | HubNotice
  | SpokeNotice;

type HubNotice =
  | ({ readonly kind: 'authorize'; readonly token: number } & PeerFacts)
  | { readonly kind: 'withdrawn'; readonly token: number }
  | {
      readonly kind: 'authorizeSubscribe';
      readonly token: number;
      readonly connection: number;
      readonly topic: string;
    }
  | ({ readonly kind: 'connection' } & ConnectionNotice)
  | { readonly kind: 'hello'; readonly connection: number }
  | {
      readonly kind: 'disconnection';
      readonly connection: number;
      readonly code: number;
      readonly reason: string;
      readonly clean: boolean;
    }
  | { readonly kind: 'backpressure'; readonly connection: number; readonly bufferedAmount: number };

interface SpokeNotice {
  readonly kind: 'dial';
  readonly token: number;
  readonly attempt: number;
}

/** What every native target offers. */
export interface NativePort {
  intern(type: string, id: string): number;
  publish(pair: number, json: string): number;
  publishOnce(type: string, id: string, json: string): number;
  listen(topic: string): number;
  unlisten(topic: string): void;
  attach(onWake: () => void): void;
  /** Binds or connects. */
  begin(): void;
  take(meta: Uint32Array): string;
  confirm(topic: string): number;
  flush(): number;
  drained(): number;
  bufferedAmount(): number;
  stats(): Record<string, number>;
  address(): NativeAddress | null;
  close(code: number, reason: string, timeoutMs: number): void;
}

export interface NativeAddress {
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

/** What a peer may do: lists of patterns; a list that is left out allows everything. */
export interface NativeGrants {
  readonly identity?: string;
  readonly subscribe?: readonly string[];
  readonly publish?: readonly string[];
}

/** The answer to `authorize`: one of the two. */
export interface NativeVerdict {
  readonly grants?: NativeGrants;
  readonly refusal?: 'notIdentified' | 'forbidden' | 'unavailable';
}

/** What joins hubs, on its way from the target that has it to a hub. */
export type NativeBackplane = object;

/** What a bus offers besides. */
export interface NativeBusPort extends NativePort {
  backplane(): NativeBackplane;
}

/** What a hub offers besides. `connection` is the engine's number, reused after the connection has gone. */
export interface NativeHubPort extends NativePort {
  publishTo(connection: number, pair: number, json: string): number;
  publishOnceTo(connection: number, type: string, id: string, json: string): number;
  listenTo(connection: number, topic: string): void;
  unlistenTo(connection: number, topic: string): void;
  admit(connection: number): void;
  disconnect(connection: number, code: number, reason: string): void;
  judge(token: number, verdict: NativeVerdict): void;
  allow(token: number, isAllowed: boolean): void;
  setGrants(connection: number, grants: NativeGrants): void;
  joinBackplane(backplane: NativeBackplane): void;
  connectionBufferedAmount(connection: number): number;
  connectionStats(connection: number): Record<string, number>;
  callIroh(id: string, onDone: (outcome: NativeOutcome) => void): NativeOperation;
  subscribers(topic: string): number;
}

/** What a spoke offers besides: the answers to `dial`. */
export interface NativeSpokePort extends NativePort {
  /** What joins hubs by the bus that the spoke is at, if it is at one. */
  backplane(): NativeBackplane | null;
  /** Sends what was published; called once per turn, where the native spoke gathers. */
  announce(): void;
  provide(token: number, url: string, headers: readonly (readonly [string, string])[]): void;
  decline(token: number, message: string): void;
}

/** A network inside the process: nodes are named by strings, times are whole milliseconds. */
export interface NativeNetwork {
  cut(a: string, b: string): void;
  heal(a: string, b: string): void;
  sever(a: string, b: string): void;
  halfOpen(a: string, b: string): void;
  setLag(delayMs: number, jitterMs: number): void;
  setLagBetween(a: string, b: string, delayMs: number, jitterMs: number): void;
  stall(node: string): void;
  resume(node: string): void;
  close(): void;
}

/** PEM texts and names; files were read already. */
export interface NativeTlsServer {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
  readonly requestCert?: boolean;
}

export interface NativeTlsClient {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  readonly insecure?: boolean;
}

/** Options that every native target takes; what is left out has the engine's default. */
export interface NativeLimits {
  readonly maxMessageBytes?: number;
  readonly maxTopicBytes?: number;
  readonly handshakeMs?: number;
  readonly heartbeatMs?: number;
  readonly maxMalformed?: number;
  readonly maxBufferedAmount?: number;
  readonly maxPendingBytes?: number;
}

/** Options of a bus; what is left out has the engine's default. */
export type NativeBusOptions = Pick<
  NativeLimits,
  'maxMessageBytes' | 'maxTopicBytes' | 'maxBufferedAmount' | 'maxPendingBytes'
>;

/** Where a hub listens for WebSocket connections. */
export interface NativeListenOptions {
  readonly host?: string;
  readonly port: number;
  readonly path?: string;
  readonly reusePort?: boolean;
  readonly tls?: NativeTlsServer;
  readonly anyone?: boolean;
  readonly allowedHosts?: readonly string[];
  readonly allowedOrigins?: readonly string[];
}

/** Tasks of a load for sockets that JavaScript carries. */
export const SEND = 0;
export const RESUME = 1;
export const END = 2;
export const RELEASE = 3;

/** What `feed` and its kin answer: go on, pause until RESUME, too much, nobody reads it. */
export const FED_MORE = 0;
export const FED_PAUSE = 1;
export const FED_TOO_MUCH = 2;
export const FED_GONE = 3;

/** Most items of one load. */
export const MAX_LOAD = 512;
/** Numbers before the first item of a load: how many items, and whether more loads wait. */
export const LOAD_HEAD = 2;
/** Numbers per item: socket, task, first, end, and a size or close code. */
export const LOAD_ITEM = 5;

/** Whom a hub lets in at servers of others. */
export interface NativeDoorOptions {
  readonly anyone?: boolean;
  readonly allowedHosts?: readonly string[];
  readonly allowedOrigins?: readonly string[];
}

/** What another server knows of a connection. */
export interface NativeVisitor {
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  readonly localAddress?: string;
  readonly isUnix: boolean;
  readonly identity?: string;
}

/** What is known of the peer of a WebSocket that another server has made. */
export interface NativePeer {
  readonly remoteAddress?: string;
  readonly url?: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly protocols: readonly string[];
}

/** Where connections of other servers come into a hub. */
export interface NativeDoor {
  openDoor(options: NativeDoorOptions, onBytes: () => void, onMessages: () => void): void;
  adopt(descriptor: number, isOurs: boolean, request: Uint8Array): boolean;
  carry(visitor: NativeVisitor, request: Uint8Array): number;
  feed(id: number, bytes: Uint8Array): number;
  hangUp(id: number, isGone: boolean): void;
  bytesSent(pairs: Uint32Array, count: number): void;
  takeBytes(meta: Uint32Array): Uint8Array;
  welcome(peer: NativePeer): number;
  receive(id: number, text: string): number;
  receiveBytes(id: number, bytes: Uint8Array): number;
  depart(id: number, code: number | undefined, reason: string): void;
  messagesSent(pairs: Uint32Array, count: number): void;
  /** Messages with U+0000 between them. */
  takeMessages(meta: Uint32Array): string;
}

export interface NativeHubOptions extends NativeLimits {
  readonly relay?: boolean;
  readonly stallMs?: number;
  readonly maxConnections?: number;
  readonly maxTopicsPerConnection?: number;
  readonly maxTopics?: number;
  readonly maxInboundBytes?: number;
  readonly maxPublishPerSecond?: number;
  readonly maxPublishBytesPerSecond?: number;
  /** Nothing is read from a connection until `admit`: there is an `onConnection`. */
  readonly admitByHand: boolean;
  /** Ask by `authorize` before a peer is let in. */
  readonly authorize: boolean;
  /** Ask by `authorizeSubscribe` about topics that grants do not allow. */
  readonly authorizeSubscribe: boolean;
}

/** What a spoke says in a WebSocket handshake. */
export interface NativeClientOptions {
  readonly protocols: readonly string[];
  readonly tls?: NativeTlsClient;
}

/** How events lie in Redis, and how to get there. */
export interface NativeRedisOptions {
  readonly prefix?: string;
  readonly origin?: string;
  readonly clientName?: string;
  readonly tls?: NativeTlsClient;
  /** URLs of Sentinels; without them and without `nodes`: the server at the URL of the spoke. */
  readonly sentinels?: readonly string[];
  readonly serviceName?: string;
  /** The master that Sentinels name speaks TLS. */
  readonly masterTls?: boolean;
  /** URLs of nodes of a cluster. */
  readonly nodes?: readonly string[];
  readonly sharded?: boolean;
}

export interface NativeSpokeOptions extends NativeLimits {
  /** Empty when `asks`. */
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  /** URL or headers are functions: ask by `dial` before each attempt. */
  readonly asks: boolean;
  readonly reconnect: boolean;
  readonly reconnectInitial?: boolean;
  readonly minDelayMs?: number;
  readonly maxDelayMs?: number;
  readonly peer?: 'auto' | 'native' | 'plain';
  readonly helloTimeoutMs?: number;
  readonly queueMaxAgeMs?: number;
}

/** What came of something that took time: nothing, or an error. */
export interface NativeOutcome {
  readonly code?: string | null;
  readonly message?: string | null;
}

export interface NativeRelay {
  readonly url: string;
  readonly token?: string;
  readonly quicPort?: number;
}

export interface NativeEndpointOptions {
  readonly secretKey?: Uint8Array;
  readonly keyFile?: string;
  readonly bind: readonly string[];
  readonly isRelayOnly: boolean;
  readonly relays: 'none' | 'default' | 'own';
  readonly ownRelays: readonly NativeRelay[];
  readonly relayRoots?: string;
  readonly idleTimeoutMs?: number;
  readonly incomingTimeoutMs?: number;
}

/** An endpoint of Iroh. Errors that it throws begin with their code and a colon. */
export interface NativeEndpoint {
  id(): string;
  sockets(): string[];
  addresses(): NativeAddresses;
  ticket(): string;
  paths(id: string): NativePath[];
  stats(): NativeEndpointStats;
  relays(): NativeRelayStatus[];
  online(onDone: OnDone): NativeOperation;
  watch(): NativeAddressWatch;
  addAddress(id: string, sockets: readonly string[], relays: readonly string[]): void;
  setAccess(allow: readonly string[] | undefined, deny: readonly string[]): void;
  connect(id: string, alpn: string, onDone: OnDone): NativeOperation;
  arrivals(alpns: readonly string[]): NativeArrivals;
  takeIncoming(): NativeIncoming[];
  answerIncoming(token: number, answer: NativeIncomingAnswer): void;
  close(onDone: (outcome: NativeOutcome) => void): void;
}

/** Somebody who has come in and is to be let in or not. */
export interface NativeIncoming {
  readonly token: number;
  readonly id: string;
  readonly alpn: string;
  readonly kind: 'direct' | 'relay' | 'other';
  readonly address: string;
}

/** `failed`: it could not be decided. */
export type NativeIncomingAnswer = 'admitted' | 'refused' | 'failed';

/** Where an endpoint is reached. */
export interface NativeAddresses {
  readonly id: string;
  readonly sockets: string[];
  readonly relays: string[];
}

interface NativePath {
  readonly kind: 'direct' | 'relay' | 'other';
  readonly address: string;
  readonly selected: boolean;
  readonly rttMs: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly lostPackets: number;
}

export interface NativeRelayStatus {
  readonly url: string;
  readonly connected: boolean;
  readonly error?: string | null;
}

interface NativeEndpointStats {
  readonly connections: number;
  readonly accepted: number;
  readonly dialled: number;
  readonly denied: number;
  readonly refused: number;
  readonly failed: number;
  readonly crowdedOut: number;
  readonly retried: number;
}

interface NativeConnectionStats {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly sentDatagrams: number;
  readonly receivedDatagrams: number;
  readonly lostPackets: number;
  readonly lostBytes: number;
}

interface NativeAddressWatch {
  next(onDone: OnDone): NativeOperation;
}

type OnDone = (outcome: NativeOutcome) => void;

/** Something under way. What it brought is taken once, when `onDone` was called without an error. */
export interface NativeOperation {
  /** False: it is over, and `onDone` is called in a moment. */
  cancel(): boolean;
  takeBytes(): Uint8Array | null;
  takeConnection(): NativeConnection | null;
  takeStreams(): NativeStreams | null;
  takeEnd(): NativeConnectionEnd | null;
  takeAddress(): NativeAddresses | null;
}

export interface NativeConnectionEnd {
  readonly code?: number | null;
  readonly reason: string;
}

export interface NativeArrivals {
  next(onDone: OnDone): NativeOperation;
}

export interface NativeConnection {
  remoteId(): string;
  alpn(): string;
  openBi(onDone: OnDone): NativeOperation;
  acceptBi(onDone: OnDone): NativeOperation;
  openUni(onDone: OnDone): NativeOperation;
  acceptUni(onDone: OnDone): NativeOperation;
  maxDatagramSize(): number | null;
  sendDatagram(bytes: Uint8Array, onDone: OnDone): NativeOperation;
  readDatagram(onDone: OnDone): NativeOperation;
  close(code: number, reason: string): void;
  closed(onDone: OnDone): NativeOperation;
  closeReason(): NativeConnectionEnd | null;
  paths(): NativePath[];
  stats(): NativeConnectionStats;
}

export interface NativeStreams {
  writeAll(bytes: Uint8Array, onDone: OnDone): NativeOperation;
  finish(onDone: OnDone): NativeOperation;
  reset(code: number): void;
  stop(code: number): void;
  readExact(count: number, onDone: OnDone): NativeOperation;
  read(max: number, onDone: OnDone): NativeOperation;
  readToEnd(max: number, onDone: OnDone): NativeOperation;
}
