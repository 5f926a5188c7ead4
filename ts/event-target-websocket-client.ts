// The factory of the WebSocket spoke: reads where it connects. Given a WebSocket, it wraps that. What all spokes have in common is read in
// spoke-options.ts. Does not know how a spoke behaves (native-target.ts, engine/src/spoke/; without the addon browser/plain-spoke.ts).
// Browsers get browser/event-target-websocket-client.ts instead.

import { addon, unavailable } from './addon.js';
import { readUrl, type WebSocketClass } from './browser/dialer.js';
import { plainSpoke } from './browser/spoke.js';
import { type ClientTlsOptions, readTls } from './client-tls.js';
import { PubSubError } from './errors.js';
import { current, type DestinationOption, makeSpoke, type OrAsked } from './native-spoke.js';
import { checkNames, given, strings, wrong } from './options.js';
import type { NativeClientOptions } from './port.js';
import { type SpokeOptions, spokeOptionNames } from './spoke-options.js';
import type { Destination, HeaderPairs } from './spoke-target.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';
import { warnOnce } from './warn.js';
import { isWebSocket, overWebSocket, type WebSocketLike, type WebSocketObjectOptions } from './websocket-object.js';

export type { WebSocketClass } from './browser/dialer.js';
export type { ClientTlsOptions } from './client-tls.js';
export type { Limits, QueueOptions } from './limits.js';
export type { OrAsked } from './native-spoke.js';
export type { Pem } from './pem.js';
export type { ReconnectOptions, SpokeOptions } from './spoke-options.js';
export type { WebSocketLike, WebSocketObjectOptions } from './websocket-object.js';

/** Header names and values of the handshake. */
export type HeaderFields = Readonly<Record<string, string>>;

/** How a WebSocket spoke reaches its hub. */
export interface WebSocketClientOptions extends SpokeOptions {
  /** Sent with the handshake; a function is asked before each attempt. */
  readonly headers?: OrAsked<HeaderFields>;
  /** Subprotocols to offer. */
  readonly protocols?: readonly string[];
  readonly tls?: ClientTlsOptions;
  /** The class whose sockets carry the spoke, in plain TypeScript, instead of the addon's. Default where there is no addon: the global one. */
  readonly WebSocket?: WebSocketClass;
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
  if (options.WebSocket !== undefined) return plainSpoke(to, options, undefined, 'the option WebSocket is given');
  if (addon === undefined) return withoutAddon(to, options);
  const { webSocketSpoke } = addon;
  checkNames(options, [...spokeOptionNames, 'headers', 'protocols', 'tls', 'WebSocket']);
  const client = readClient(options);
  const destination = readDestination(to, options.headers);
  return makeSpoke(options, destination, (native) => webSocketSpoke(native, client));
}

/** Where no binary fits: the plain spoke, over the runtime's own WebSocket. */
function withoutAddon<TEvent extends TypedEvent>(
  url: OrAsked<string | URL>,
  options: WebSocketClientOptions,
): NativeTarget<TEvent> {
  const { WebSocket } = globalThis as { WebSocket?: WebSocketClass };
  const why = unavailable?.message ?? '';
  if (WebSocket === undefined) {
    const remedy =
      'A spoke can do without it, but this runtime has no WebSocket class: give one as the option WebSocket.';
    throw new PubSubError('ERR_NATIVE_UNAVAILABLE', `${why}\n${remedy}`, { cause: unavailable });
  }
  const instead = "Spokes run in plain TypeScript over the runtime's WebSocket instead, without headers and tls.";
  warnOnce(`${why}\n${instead}`, 'ERR_NATIVE_UNAVAILABLE');
  return plainSpoke(url, options, WebSocket, 'the addon could not be loaded');
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
