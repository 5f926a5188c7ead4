// Loads the addon; the only file that does. Does not wrap anything.
// Invariant: there are the native classes, or the error that names the platform and the remedy (loader.cjs writes it).

import { createRequire } from 'node:module';
import type {
  NativeAddresses,
  NativeBackplane,
  NativeBusOptions,
  NativeBusPort,
  NativeClientOptions,
  NativeDoor,
  NativeEndpoint,
  NativeEndpointOptions,
  NativeHubOptions,
  NativeHubPort,
  NativeListenOptions,
  NativeNetwork,
  NativeOutcome,
  NativePort,
  NativeRedisOptions,
  NativeSpokeOptions,
  NativeSpokePort,
} from './port.js';

/** A hub before `begin`: what makes its links is added to it. */
export interface NativeHub extends NativeHubPort, NativeDoor {
  listenWebSocket(options: NativeListenOptions): void;
  joinMemory(network: NativeNetwork, name: string): void;
  acceptIroh(endpoint: NativeEndpoint, alpn: string | undefined, anyone: boolean): void;
}

export interface Binding {
  readonly NativeHub: new (options: NativeHubOptions) => NativeHub;
  readonly NativeEndpoint: new (
    options: NativeEndpointOptions,
    onDone: (outcome: NativeOutcome) => void,
    onIncoming?: () => void,
  ) => NativeEndpoint;
  readonly NativeMemoryNetwork: new (seed: number) => NativeNetwork;
  processBus(name: string, options: NativeBusOptions): NativeBusPort;
  redisTarget(options: NativeSpokeOptions, redis: NativeRedisOptions): NativeSpokePort;
  redisBackplane(options: NativeSpokeOptions, redis: NativeRedisOptions): NativeBackplane | null;
  endpointId(text: string): string;
  endpointAddress(text: string): NativeAddresses;
  endpointTicket(id: string, sockets: readonly string[], relays: readonly string[]): string;
  irohSpoke(
    options: NativeSpokeOptions,
    endpoint: NativeEndpoint,
    hubId: string,
    alpn: string | undefined,
  ): NativeSpokePort;
  irohWaitingSpoke(
    options: NativeSpokeOptions,
    endpoint: NativeEndpoint,
    hubId: string | undefined,
    alpn: string | undefined,
  ): NativeSpokePort;
  irohSwarm(
    options: NativeSpokeOptions,
    endpoint: NativeEndpoint,
    topic: string | Uint8Array,
    bootstrap: readonly string[],
  ): NativePort;
  webSocketSpoke(options: NativeSpokeOptions, client: NativeClientOptions): NativeSpokePort;
  memorySpoke(options: NativeSpokeOptions, network: NativeNetwork, name: string, hubName: string): NativeSpokePort;
}

const { binding, error } = load();

/** The native classes, or nothing where no binary fits. */
export const addon: Binding | undefined = binding;

/** Why there are none. */
export const unavailable: Error | undefined = error;

function load(): { readonly binding?: Binding; readonly error?: Error } {
  try {
    return { binding: createRequire(import.meta.url)('../loader.cjs') as Binding };
  } catch (error) {
    return { error: error as Error };
  }
}
