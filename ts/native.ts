// Loads the addon; the only file that does. Does not wrap anything.
// Invariant: importing this file either brings the native classes or throws an error that names the platform and the remedy
// (loader.cjs writes it).

import { createRequire } from 'node:module';
import type {
  NativeBusOptions,
  NativeClientOptions,
  NativeHubOptions,
  NativeHubPort,
  NativeListenOptions,
  NativeNetwork,
  NativePort,
  NativeSpokeOptions,
  NativeSpokePort,
} from './port.js';

/** A hub before `begin`: what makes its links is added to it. */
export interface NativeHub extends NativeHubPort {
  listenWebSocket(options: NativeListenOptions): void;
  joinMemory(network: NativeNetwork, name: string): void;
}

interface Binding {
  readonly NativeHub: new (options: NativeHubOptions) => NativeHub;
  readonly NativeMemoryNetwork: new (seed: number) => NativeNetwork;
  processBus(name: string, options: NativeBusOptions): NativePort;
  webSocketSpoke(options: NativeSpokeOptions, client: NativeClientOptions): NativeSpokePort;
  memorySpoke(options: NativeSpokeOptions, network: NativeNetwork, name: string, hubName: string): NativeSpokePort;
}

const binding = createRequire(import.meta.url)('../loader.cjs') as Binding;

export const NativeHub: Binding['NativeHub'] = binding.NativeHub;
export const NativeMemoryNetwork: Binding['NativeMemoryNetwork'] = binding.NativeMemoryNetwork;
export const memorySpoke: Binding['memorySpoke'] = binding.memorySpoke;
export const processBus: Binding['processBus'] = binding.processBus;
export const webSocketSpoke: Binding['webSocketSpoke'] = binding.webSocketSpoke;
