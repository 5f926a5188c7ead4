// Loads the addon; the only file that does. Does not wrap anything.
// Invariant: importing this file either brings the native classes or throws an error that names the platform and the remedy
// (loader.cjs writes it).

import { createRequire } from 'node:module';
import type { NativeHubOptions, NativeHubPort, NativeSpokeOptions, NativeSpokePort } from './port.js';

interface Binding {
  readonly NativeWebSocketHub: new (options: NativeHubOptions) => NativeHubPort;
  readonly NativeWebSocketSpoke: new (options: NativeSpokeOptions) => NativeSpokePort;
}

const binding = createRequire(import.meta.url)('../loader.cjs') as Binding;

export const NativeWebSocketHub: Binding['NativeWebSocketHub'] = binding.NativeWebSocketHub;
export const NativeWebSocketSpoke: Binding['NativeWebSocketSpoke'] = binding.NativeWebSocketSpoke;
