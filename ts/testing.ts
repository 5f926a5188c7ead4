// The entry point for tests of code that uses targets, listed by hand. Not meant for production.

export {
  createFaultProxy,
  type FaultDelayOptions,
  type FaultDirection,
  type FaultProxy,
  type FaultProxyOptions,
  type FaultProxyStats,
} from './fault-proxy.js';
export type { HubLimits, HubOptions } from './hub-options.js';
export type { HubEventTarget } from './hub-target.js';
export { createNetwork, type Network, type NetworkNode, type NetworkOptions } from './memory-network.js';
export type { ReconnectOptions, SpokeOptions } from './spoke-options.js';
