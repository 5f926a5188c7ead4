// The factory of the WebSocket spoke: reads where it connects. Given a WebSocket, it wraps that. What all spokes have in common is read in
// spoke-options.ts. Does not know how a spoke behaves (native-target.ts, engine/src/spoke/).

import { webSocketSpoke } from './native.js';
import { boolean, checkNames, given, string, strings, wrong } from './options.js';
import { type Pem, pemText } from './pem.js';
import type { NativeClientOptions, NativeTlsClient } from './port.js';
import { type DestinationOption, makeSpoke, type SpokeOptions, spokeOptionNames } from './spoke-options.js';
import type { Destination, HeaderPairs } from './spoke-target.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';
import { isWebSocket, overWebSocket, type WebSocketLike, type WebSocketObjectOptions } from './websocket-object.js';

export type { Limits, QueueOptions } from './limits.js';
export type { Pem } from './pem.js';
export type { ReconnectOptions, SpokeOptions } from './spoke-options.js';
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

export interface WebSocketClientOptions extends SpokeOptions {
  /** Sent with the handshake; a function is asked before each attempt. */
  readonly headers?: OrAsked<HeaderFields>;
  /** Subprotocols to offer. */
  readonly protocols?: readonly string[];
  readonly tls?: ClientTlsOptions;
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
  checkNames(options, [...spokeOptionNames, 'headers', 'protocols', 'tls']);
  const client = readClient(options);
  const destination = readDestination(to, options.headers);
  return makeSpoke(options, destination, (native) => webSocketSpoke(native, client));
}

function readClient(options: WebSocketClientOptions): NativeClientOptions {
  return {
    protocols: strings('protocols', options.protocols) ?? [],
    ...given({ tls: options.tls === undefined ? undefined : readTls(options.tls) }),
  };
}

/** What is constant is checked at once, what is a function's is asked for later. */
function readDestination(url: OrAsked<string | URL>, headers: OrAsked<HeaderFields> = {}): DestinationOption {
  if (typeof url === 'function' || typeof headers === 'function') return () => ask(url, headers);
  return { url: readUrl(url), headers: readHeaders(headers) };
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
async function ask(url: OrAsked<string | URL>, headers: OrAsked<HeaderFields>): Promise<Destination> {
  const [askedUrl, askedHeaders] = await Promise.all([current(url), current(headers)]);
  return { url: readUrl(askedUrl), headers: readHeaders(askedHeaders) };
}

async function current<T extends object | string>(value: OrAsked<T>): Promise<T> {
  return typeof value === 'function' ? value() : value;
}
