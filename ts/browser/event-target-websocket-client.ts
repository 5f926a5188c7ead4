// The entry point `/event-target-websocket-client` where there is no addon: browsers and edge runtimes, by the conditions in package.json.
// Exports the names of the native one. No native code, no Node built-ins.

import type { OrAsked, WebSocketClientOptions } from '../event-target-websocket-client.js';
import type { AnyEvent, NativeTarget, TypedEvent } from '../types.js';
import { isWebSocket, overWebSocket } from '../websocket-object.js';
import type { WebSocketClass } from './dialer.js';
import type { WebSocketLike } from './link.js';
import { plainSpoke } from './spoke.js';

const WHY = 'a WebSocket of a browser has no such thing';

/** As the native `createWebSocketClientEventTarget`; `headers` and `tls` throw. */
export function createWebSocketClientEventTarget<TEvent extends TypedEvent = AnyEvent>(
  to: OrAsked<string | URL> | WebSocketLike,
  options: WebSocketClientOptions = {},
): NativeTarget<TEvent> {
  if (isWebSocket(to)) return overWebSocket(to, options);
  return plainSpoke(to, options, (globalThis as { WebSocket?: WebSocketClass }).WebSocket, WHY);
}
