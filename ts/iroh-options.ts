// The options about Iroh connections of a hub: the endpoint where they come in, and by which protocol.
// Does not know what all hubs have in common (hub-options.ts).

import type { Endpoint } from './iroh.js';
import { calling, nativeOf } from './iroh-native.js';
import type { NativeHub } from './native.js';
import { boolean, checkNames, string } from './options.js';

/** Where a hub takes Iroh connections. */
export interface IrohOptions {
  /** Yours: the hub never closes it. */
  readonly endpoint: Endpoint;
  /** The protocol; native peers use it with `+hello` behind it. Default "alkpubsub/1". */
  readonly alpn?: string;
  /** Whoever reaches the endpoint may connect, publish and subscribe. Needed without `authorize`, unless the endpoint is bound to loopback. */
  readonly anyone?: boolean;
}

export const irohOptionNames: readonly string[] = ['endpoint', 'alpn', 'anyone'];

/** Checks the options; what it returns adds them to a hub. */
export function readIroh(options: IrohOptions): (hub: NativeHub) => void {
  checkNames(options, irohOptionNames, 'iroh');
  const endpoint = nativeOf(options.endpoint);
  const alpn = string('alpn', options.alpn);
  const anyone = boolean('anyone', options.anyone) ?? false;
  return (hub) => calling(() => hub.acceptIroh(endpoint, alpn, anyone));
}
