// The native classes, for those who can do nothing without them. Does not load them (addon.ts) and does not wrap anything.
// Invariant: importing this file either brings the classes or throws the error that names the platform and the remedy.

import { addon, type Binding, type NativeHub as Hub, unavailable } from './addon.js';
import type { NativeEndpoint as NativeEndpointPort } from './port.js';

/** A hub before `begin`: what makes its links is added to it. */
export type NativeHub = Hub;

/** An endpoint of Iroh. */
export type NativeEndpoint = NativeEndpointPort;

if (addon === undefined) throw unavailable;

export const NativeEndpoint: Binding['NativeEndpoint'] = addon.NativeEndpoint;
export const endpointId: Binding['endpointId'] = addon.endpointId;
export const endpointAddress: Binding['endpointAddress'] = addon.endpointAddress;
export const endpointTicket: Binding['endpointTicket'] = addon.endpointTicket;
export const irohSpoke: Binding['irohSpoke'] = addon.irohSpoke;
export const irohSwarm: Binding['irohSwarm'] = addon.irohSwarm;
export const irohWaitingSpoke: Binding['irohWaitingSpoke'] = addon.irohWaitingSpoke;
export const NativeHub: Binding['NativeHub'] = addon.NativeHub;
export const NativeMemoryNetwork: Binding['NativeMemoryNetwork'] = addon.NativeMemoryNetwork;
export const memorySpoke: Binding['memorySpoke'] = addon.memorySpoke;
export const processBus: Binding['processBus'] = addon.processBus;
export const redisBackplane: Binding['redisBackplane'] = addon.redisBackplane;
export const redisTarget: Binding['redisTarget'] = addon.redisTarget;
