// The options that all spokes have in common, whatever carries their link, native or not. Does not know a transport, and no defaults.
// Runs in browsers.

import { checkLimits, type Limits, limitNames, type QueueOptions, readLimits, readQueues } from './limits.js';
import { checkNames, type Kind, readAll } from './options.js';
import type { NativeSpokeOptions } from './port.js';

/** How a target comes back when its link is lost. */
export interface ReconnectOptions {
  /** False: a failing first attempt is the end. Default true. */
  readonly initial?: boolean;
  /** First delay in milliseconds; it doubles, and a random part of it is waited. Default 250. */
  readonly minDelayMs?: number;
  /** Longest delay in milliseconds. Default 30 000. */
  readonly maxDelayMs?: number;
}

/** What all spokes have, whatever carries their links. */
export interface SpokeOptions extends QueueOptions {
  /** Closes the target when it is aborted. */
  readonly signal?: AbortSignal;
  /** False: the first loss is the end. */
  readonly reconnect?: ReconnectOptions | boolean;
  /** What to expect of the hub: "plain" sends no hello, "native" fails without an answer to it. Default "auto". */
  readonly peer?: 'auto' | 'native' | 'plain';
  /** Milliseconds after which a hub that has not said hello counts as plain. Default 2000. */
  readonly helloTimeoutMs?: number;
  /** Milliseconds after which an event that waits for a link is dropped. Default 60 000. */
  readonly queueMaxAgeMs?: number;
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean;
  /** Bounds of messages and time. */
  readonly limits?: Limits;
}

export const spokeOptionNames: readonly string[] = [
  'signal',
  'reconnect',
  'peer',
  'helloTimeoutMs',
  'queueMaxAgeMs',
  'echo',
  'limits',
  'maxBufferedAmount',
  'maxPendingBytes',
];

const kinds: Readonly<Record<string, Kind>> = {
  peer: ['auto', 'native', 'plain'],
  helloTimeoutMs: [1],
  queueMaxAgeMs: [1],
};

/** What was given, checked; what was left out stays out. */
export function readSpokeOptions(options: SpokeOptions): Omit<NativeSpokeOptions, 'url' | 'headers' | 'asks'> {
  checkLimits(options.limits, limitNames);
  return {
    ...readReconnect(options.reconnect ?? true),
    ...readQueues(options),
    ...readLimits(options.limits ?? {}),
    ...readAll(options, kinds),
  };
}

function readReconnect(
  reconnect: ReconnectOptions | boolean,
): Pick<NativeSpokeOptions, 'reconnect' | 'reconnectInitial' | 'minDelayMs' | 'maxDelayMs'> {
  if (typeof reconnect === 'boolean') return { reconnect };
  const own: Readonly<Record<string, Kind>> = { initial: 'boolean', minDelayMs: [1], maxDelayMs: [1] };
  checkNames(reconnect, Object.keys(own), 'reconnect');
  const { initial, ...delays }: ReconnectOptions = readAll(reconnect, own);
  return { reconnect: true, ...delays, ...(initial === undefined ? {} : { reconnectInitial: initial }) };
}
