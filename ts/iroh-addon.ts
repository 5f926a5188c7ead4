// The native classes and functions of Iroh, which an addon may have been built without. Does not load the addon (addon.ts) and does not wrap anything.
// Invariant: importing this file either brings them or throws the error that names the remedy.

import { addon, type Binding, unavailable } from './addon.js';
import { PubSubError } from './errors.js';
import type { NativeEndpoint as NativeEndpointPort } from './port.js';

/** An endpoint of Iroh. */
export type NativeEndpoint = NativeEndpointPort;

const REMEDY =
  'This addon was built without Iroh (--no-default-features). The published packages have it; in a clone of the sources "npm run build" builds it with Iroh, ' +
  '"cargo build" with the feature "iroh". Hubs and spokes over WebSockets, Redis and the bus of a process work without.';

if (addon === undefined) throw unavailable;
if (addon.NativeEndpoint === undefined) throw new PubSubError('ERR_NATIVE_UNAVAILABLE', REMEDY);

export const NativeEndpoint: Binding['NativeEndpoint'] = addon.NativeEndpoint;
export const endpointId: Binding['endpointId'] = addon.endpointId;
export const endpointAddress: Binding['endpointAddress'] = addon.endpointAddress;
export const endpointTicket: Binding['endpointTicket'] = addon.endpointTicket;
export const irohSpoke: Binding['irohSpoke'] = addon.irohSpoke;
export const irohSwarm: Binding['irohSwarm'] = addon.irohSwarm;
export const irohWaitingSpoke: Binding['irohWaitingSpoke'] = addon.irohWaitingSpoke;
