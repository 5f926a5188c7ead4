// The native classes, for those who can do nothing without them. Does not load them (addon.ts) and does not wrap anything.
// Those of Iroh are in iroh-addon.ts, those of Redis in redis-addon.ts: an addon may be without.
// Invariant: importing this file either brings the classes or throws the error that names the platform and the remedy.

import { addon, type Binding, type NativeHub as Hub, unavailable } from './addon.js';

/** A hub before `begin`: what makes its links is added to it. */
export type NativeHub = Hub;

if (addon === undefined) throw unavailable;

export const NativeHub: Binding['NativeHub'] = addon.NativeHub;
export const NativeMemoryNetwork: Binding['NativeMemoryNetwork'] = addon.NativeMemoryNetwork;
export const memorySpoke: Binding['memorySpoke'] = addon.memorySpoke;
export const processBus: Binding['processBus'] = addon.processBus;
