// Makes a plain spoke of a URL: reads its options. Does not know how a spoke behaves (plain-spoke.ts).

import type { WebSocketClientOptions } from '../event-target-websocket-client.js';
import { closeOnAbort } from '../life-cycle.js';
import { abortSignal, boolean, callback, checkNames, invalidOption, strings } from '../options.js';
import { readSpokeOptions, spokeOptionNames } from '../spoke-options.js';
import { defaults } from './defaults.js';
import { dialing, type WebSocketClass } from './dialer.js';
import { PlainSpoke } from './plain-spoke.js';

/**
 * Makes a spoke of the hub at `url`. `why` says why it is no native one, for the options that only those have; `socketClass` is used where
 * the options name none.
 */
export function plainSpoke(
  url: string | URL | (() => string | URL | PromiseLike<string | URL>),
  options: WebSocketClientOptions,
  socketClass: WebSocketClass | undefined,
  why: string,
): PlainSpoke {
  checkNames(options, [...spokeOptionNames, 'headers', 'protocols', 'tls', 'WebSocket']);
  refuse('headers', options.headers, `${why}; send a ticket in the URL or in protocols, or rely on cookies`);
  refuse('tls', options.tls, `${why}; the runtime decides whom it trusts`);
  const signal = abortSignal('signal', options.signal);
  const made = callback('WebSocket', options.WebSocket ?? socketClass);
  if (made === undefined) throw invalidOption('this runtime has no WebSocket class; give one as the option WebSocket');
  const dialer = dialing(url, strings('protocols', options.protocols) ?? [], made);
  const echo = boolean('echo', options.echo) ?? false;
  const target = new PlainSpoke(dialer, { ...defaults, ...readSpokeOptions(options), echo });
  if (signal !== undefined) closeOnAbort(target, signal);
  return target;
}

function refuse(name: string, value: unknown, why: string): void {
  if (value !== undefined) throw invalidOption(`${name} cannot be used here: ${why}`);
}
