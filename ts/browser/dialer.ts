// Where the sockets of a plain spoke come from: the caller has made one, or each attempt makes its own.
// Does not decide when to make one, and does not listen to it.
// Invariant: a socket made here gives bytes as ArrayBuffer, and its errors crash nobody, however early it is left.

import { wrong } from '../options.js';
import type { WebSocketLike } from './link.js';

/** The part of the standard `WebSocket` class that is needed. */
export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

/** A value, or a function that is asked for it before each attempt to connect. */
type OrAsked<T> = T | (() => T | PromiseLike<T>);

export interface Dialer {
  /** The caller's socket: the only one there is. */
  readonly owned?: WebSocketLike;
  /** Where the next attempt goes. */
  locate?(): Promise<string>;
  /** A socket for one attempt. Throws where the platform would refuse the next one as well. */
  dial?(url: string): WebSocketLike;
}

/** Makes a socket of `socketClass` for each attempt. */
export function dialing(url: OrAsked<string | URL>, protocols: readonly string[], socketClass: WebSocketClass): Dialer {
  const constant = typeof url === 'function' ? undefined : readUrl(url);
  return {
    locate: async () => constant ?? readUrl(await (url as () => string | PromiseLike<string>)()),
    dial: (href) => {
      const socket: WebSocketLike & { binaryType?: string } = new socketClass(href, [...protocols]);
      socket.binaryType = 'arraybuffer';
      socket.addEventListener('error', () => {});
      return socket;
    },
  };
}

/** The address of a WebSocket, without a fragment: those are refused by the standard. */
export function readUrl(url: string | URL): string {
  const parsed = parse(url);
  if (parsed === undefined || !/^wss?:$/.test(parsed.protocol)) throw wrong('url', 'a ws:// or wss:// URL', url);
  parsed.hash = '';
  return parsed.href;
}

function parse(url: string | URL): URL | undefined {
  try {
    return new URL(url);
  } catch {
    return undefined;
  }
}
