// The native classes, for those who can do nothing without them. Does not load them (addon.ts) and does not wrap anything.
// Invariant: importing this file either brings the classes or throws the error that names the platform and the remedy.

import { addon, type Binding, unavailable } from './addon.js';

export type { NativeHub } from './addon.js';

if (addon === undefined) throw unavailable;

export const NativeHub: Binding['NativeHub'] = addon.NativeHub;
export const NativeMemoryNetwork: Binding['NativeMemoryNetwork'] = addon.NativeMemoryNetwork;
export const memorySpoke: Binding['memorySpoke'] = addon.memorySpoke;
