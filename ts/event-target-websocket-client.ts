// The factory of the WebSocket spoke: reads its options, makes the native spoke, wraps it. Given a WebSocket, it wraps that.
// Does not know how a spoke behaves (native-target.ts, engine/src/spoke/).

import { closeOnAbort } from './life-cycle.js';
import { checkLimits, type Limits, limitNames, type QueueOptions, readLimits, readQueues } from './limits.js';
import { NativeWebSocketSpoke } from './native.js';
import { abortSignal, boolean, checkNames, given, oneOf, positiveInteger, string, strings, wrong } from './options.js';
import { type Pem, pemText } from './pem.js';
import type { NativeSpokeOptions, NativeTlsClient } from './port.js';
import { type Destination, type HeaderPairs, SpokeTarget } from './spoke-target.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';
import { isWebSocket, overWebSocket, type WebSocketLike, type WebSocketObjectOptions } from './websocket-object.js';

export type { Limits, QueueOptions } from './limits.js';
export type { Pem } from './pem.js';
export type { WebSocketLike, WebSocketObjectOptions } from './websocket-object.js';

/** A value, or a function that is asked for it before each attempt to connect. */
export type OrAsked<T> = T | (() => T | PromiseLike<T>);

/** Header names and values of the handshake. */
export type HeaderFields = Readonly<Record<string, string>>;

export interface ClientTlsOptions {
  /** Authorities to trust instead of the system's. */
  readonly ca?: Pem;
  readonly cert?: Pem;
  readonly key?: Pem;
  /** Name to expect in the certificate, when it is not the URL's. */
  readonly serverName?: string;
  /** Accept any certificate: for tests only. Default false. */
  readonly insecure?: boolean;
}

export interface ReconnectOptions {
  /** False: a failing first attempt is the end. Default true. */
  readonly initial?: boolean;
  /** First delay in milliseconds; it doubles, and a random part of it is waited. Default 250. */
  readonly minDelayMs?: number;
  /** Longest delay in milliseconds. Default 30 000. */
  readonly maxDelayMs?: number;
}

export interface WebSocketClientOptions extends QueueOptions {
  /** Sent with the handshake; a function is asked before each attempt. */
  readonly headers?: OrAsked<HeaderFields>;
  /** Subprotocols to offer. */
  readonly protocols?: readonly string[];
  readonly tls?: ClientTlsOptions;
  /** Closes the target when it is aborted. */
  readonly signal?: AbortSignal;
  /** False: the first loss is the end. */
  readonly reconnect?: ReconnectOptions | boolean;
  /** What to expect of the hub: "plain" sends no hello, "native" fails without an answer to it. Default "auto". */
  readonly peer?: 'auto' | 'native' | 'plain';
  /** Milliseconds after which a hub that has not said hello counts as plain. Default 2000. */
  readonly helloTimeoutMs?: number;
  /** Milliseconds after which an event that waits for a link is dropped. Default 60 000. */
  readonly queueMaxAgeMs?: number;
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean;
  readonly limits?: Limits;
}

/**
 * Makes a spoke of the hub at `url`. It connects in the background and again whenever the link is lost.
 *
 * ```js
 * const spoke = createWebSocketClientEventTarget('ws://127.0.0.1:8080');
 * spoke.addEventListener('chat.msg:r1', (event) => console.log(event.detail.payload));
 * await spoke.ready('chat.msg:r1');
 * ```
 */
export function createWebSocketClientEventTarget<TEvent extends TypedEvent = AnyEvent>(
  url: OrAsked<string | URL>,
  options?: WebSocketClientOptions,
): NativeTarget<TEvent>;
/** Makes a spoke over a WebSocket of yours, open or connecting: it is not reconnected, and never closed by us. */
export function createWebSocketClientEventTarget<TEvent extends TypedEvent = AnyEvent>(
  socket: WebSocketLike,
  options?: WebSocketObjectOptions,
): NativeTarget<TEvent>;
export function createWebSocketClientEventTarget<TEvent extends TypedEvent = AnyEvent>(
  to: OrAsked<string | URL> | WebSocketLike,
  options: WebSocketClientOptions = {},
): NativeTarget<TEvent> {
  if (isWebSocket(to)) return overWebSocket(to, options);
  checkNames(options, optionNames);
  const signal = abortSignal('signal', options.signal);
  const echo = boolean('echo', options.echo);
  const native = readSpokeOptions(to, options);
  const target = new SpokeTarget(new NativeWebSocketSpoke(native), {
    echo,
    destination: () => ask(to, options.headers),
  });
  if (signal !== undefined) closeOnAbort(target, signal);
  return target as NativeTarget<TEvent>;
}

const optionNames: readonly string[] = [
  'headers',
  'protocols',
  'tls',
  'signal',
  'reconnect',
  'peer',
  'helloTimeoutMs',
  'queueMaxAgeMs',
  'echo',
  'limits',
  'maxBufferedAmount',
  'maxPendingBytes',
];

function readSpokeOptions(url: OrAsked<string | URL>, options: WebSocketClientOptions): NativeSpokeOptions {
  const { headers = {} } = options;
  const asks = typeof url === 'function' || typeof headers === 'function';
  checkLimits(options.limits, limitNames);
  return {
    url: typeof url === 'function' ? '' : readUrl(url),
    headers: typeof headers === 'function' ? [] : readHeaders(headers),
    asks,
    protocols: strings('protocols', options.protocols) ?? [],
    ...readReconnect(options.reconnect ?? true),
    ...readQueues(options),
    ...readLimits(options.limits ?? {}),
    ...given({
      tls: options.tls === undefined ? undefined : readTls(options.tls),
      peer: oneOf('peer', options.peer, ['auto', 'native', 'plain']),
      helloTimeoutMs: positiveInteger('helloTimeoutMs', options.helloTimeoutMs),
      queueMaxAgeMs: positiveInteger('queueMaxAgeMs', options.queueMaxAgeMs),
    }),
  };
}

function readReconnect(
  reconnect: ReconnectOptions | boolean,
): Pick<NativeSpokeOptions, 'reconnect' | 'reconnectInitial' | 'minDelayMs' | 'maxDelayMs'> {
  if (typeof reconnect === 'boolean') return { reconnect };
  checkNames(reconnect, ['initial', 'minDelayMs', 'maxDelayMs'], 'reconnect');
  const delays = given({
    reconnectInitial: boolean('initial', reconnect.initial),
    minDelayMs: positiveInteger('minDelayMs', reconnect.minDelayMs),
    maxDelayMs: positiveInteger('maxDelayMs', reconnect.maxDelayMs),
  });
  return { reconnect: true, ...delays };
}

function readTls(tls: ClientTlsOptions): NativeTlsClient {
  checkNames(tls, ['ca', 'cert', 'key', 'serverName', 'insecure'], 'tls');
  return given({
    ca: pemText('tls.ca', tls.ca),
    cert: pemText('tls.cert', tls.cert),
    key: pemText('tls.key', tls.key),
    serverName: string('serverName', tls.serverName),
    insecure: boolean('insecure', tls.insecure),
  });
}

function readUrl(url: string | URL): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^wss?:$/.test(parsed.protocol)) throw wrong('url', 'a ws:// or wss:// URL', url);
  return parsed.href;
}

function readHeaders(headers: HeaderFields): HeaderPairs {
  if (typeof headers !== 'object' || headers === null) throw wrong('headers', 'an object or a function', headers);
  return Object.entries(headers).map(([name, value]) => {
    if (typeof value !== 'string') throw wrong(`headers["${name}"]`, 'a string', value);
    return [name, value];
  });
}

/** URL and headers of the next attempt; one of the two may be constant. */
async function ask(url: OrAsked<string | URL>, headers: OrAsked<HeaderFields> = {}): Promise<Destination> {
  const [askedUrl, askedHeaders] = await Promise.all([current(url), current(headers)]);
  return { url: readUrl(askedUrl), headers: readHeaders(askedHeaders) };
}

async function current<T extends object | string>(value: OrAsked<T>): Promise<T> {
  return typeof value === 'function' ? value() : value;
}
