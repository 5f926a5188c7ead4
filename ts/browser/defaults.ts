// The defaults of spokes in plain TypeScript. The native targets have theirs in the engine, and a test holds both to docs/limits.md.

import type { PlainSpokeOptions } from './plain-spoke.js';

export const defaults: PlainSpokeOptions = {
  peer: 'auto',
  helloTimeoutMs: 2000,
  handshakeMs: 10_000,
  heartbeatMs: 10_000,
  maxMessageBytes: 1_048_576,
  maxTopicBytes: 1024,
  maxMalformed: 100,
  maxBufferedAmount: 1_048_576,
  maxPendingBytes: 67_108_864,
  queueMaxAgeMs: 60_000,
  reconnect: true,
  reconnectInitial: true,
  minDelayMs: 250,
  maxDelayMs: 30_000,
  echo: false,
};
