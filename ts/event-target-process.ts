// The factory of the process bus: reads its options. Does not know how a bus behaves (bus-target.ts, engine/src/bus.rs).

import type { BackplaneTarget } from './backplane.js';
import { BusTarget } from './bus-target.js';
import { closeOnAbort } from './life-cycle.js';
import { checkLimits, type Limits, type QueueOptions, readLimits, readQueues } from './limits.js';
import { processBus } from './native.js';
import { abortSignal, boolean, checkNames, string, wrong } from './options.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';

export type { BackplaneTarget } from './backplane.js';

/** A member of a bus of this process; given to hubs as their `backplane`, it joins them. */
export interface ProcessEventTarget<TEvent extends TypedEvent = AnyEvent>
  extends NativeTarget<TEvent>,
    BackplaneTarget {}

/** Bounds and behaviour of a member of a bus. */
export interface ProcessEventTargetOptions extends QueueOptions {
  /** Closes the target when it is aborted. */
  readonly signal?: AbortSignal;
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean;
  /** Bytes published here that may wait for slow members before `drain()` waits. Default 1 048 576. */
  readonly maxBufferedAmount?: number;
  /** Bytes that may wait for this target while its thread is busy. Default 64 MiB. */
  readonly maxPendingBytes?: number;
  /** Bounds of messages. */
  readonly limits?: Pick<Limits, 'maxMessageBytes' | 'maxTopicBytes'>;
}

const optionNames: readonly string[] = ['signal', 'echo', 'limits', 'maxBufferedAmount', 'maxPendingBytes'];

/**
 * Makes a member of the bus of this process that has this name. What one member dispatches reaches the listeners of all others, in
 * whatever thread they are.
 *
 * ```js
 * const bus = createProcessEventTarget('jobs');
 * bus.addEventListener('job.done:7', (event) => console.log(event.detail.payload));
 * ```
 */
export function createProcessEventTarget<TEvent extends TypedEvent = AnyEvent>(
  name: string,
  options: ProcessEventTargetOptions = {},
): ProcessEventTarget<TEvent> {
  if (string('name', name) === undefined) throw wrong('name', 'a non-empty string', name);
  checkNames(options, optionNames);
  checkLimits(options.limits, ['maxMessageBytes', 'maxTopicBytes']);
  const signal = abortSignal('signal', options.signal);
  const echo = boolean('echo', options.echo);
  const native = processBus(name, { ...readQueues(options), ...readLimits(options.limits ?? {}) });
  const target = new BusTarget(native, { echo });
  if (signal !== undefined) closeOnAbort(target, signal);
  return target as ProcessEventTarget<TEvent>;
}
