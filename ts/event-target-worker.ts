// The factories of worker targets: both ends of one worker. Read options. Do not know how such a target behaves (worker-target.ts).
// No native code and no Node built-ins: runs in browsers.

import { closeOnAbort } from './life-cycle.js';
import { abortSignal, boolean, checkNames, positiveInteger } from './options.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';
import { hostPort, type ThreadPort, threadPort, type WorkerLike } from './worker-port.js';
import { WorkerTarget } from './worker-target.js';

export type { WorkerLike } from './worker-port.js';

/** Bounds and behaviour of either end; each has its own. */
export interface WorkerEventTargetOptions {
  /** Closes the target, not the worker, when it is aborted. */
  readonly signal?: AbortSignal;
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean;
  /** Characters that may wait before the other end is there; below half of it, `drain()` resolves. Default 1 048 576. */
  readonly maxBufferedAmount?: number;
  /** Characters that may wait for the other thread. Default 64 MiB. */
  readonly maxPendingBytes?: number;
}

/**
 * Makes the host's end of a worker: Node's `worker_threads`, Deno's, Bun's or a browser's `Worker`. The worker stays yours.
 *
 * ```js
 * const worker = new Worker(new URL('worker.mjs', import.meta.url));
 * const target = createWorkerHostEventTarget(worker);
 * target.addEventListener('job.done:7', (event) => console.log(event.detail.payload));
 * await target.ready('job.done:7');
 * ```
 */
export function createWorkerHostEventTarget<TEvent extends TypedEvent = AnyEvent>(
  worker: WorkerLike,
  options: WorkerEventTargetOptions = {},
): NativeTarget<TEvent> {
  return makeTarget(() => hostPort(worker), options);
}

/** Makes the worker's end, in the worker. Throws `ERR_NOT_A_WORKER` anywhere else. */
export function createWorkerThreadEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: WorkerEventTargetOptions = {},
): NativeTarget<TEvent> {
  return makeTarget(threadPort, options);
}

function makeTarget<TEvent extends TypedEvent>(
  port: () => ThreadPort,
  options: WorkerEventTargetOptions,
): NativeTarget<TEvent> {
  checkNames(options, ['signal', 'echo', 'maxBufferedAmount', 'maxPendingBytes']);
  const signal = abortSignal('signal', options.signal);
  const read = {
    echo: boolean('echo', options.echo) ?? false,
    maxBufferedAmount: positiveInteger('maxBufferedAmount', options.maxBufferedAmount) ?? 1_048_576,
    maxPendingBytes: positiveInteger('maxPendingBytes', options.maxPendingBytes) ?? 67_108_864,
  };
  const target = new WorkerTarget(port(), read);
  if (signal !== undefined) closeOnAbort(target, signal);
  return target;
}
