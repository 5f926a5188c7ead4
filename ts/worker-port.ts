// The way to the other thread: a Worker seen from outside, or a worker's own scope seen from inside, as Node, Deno, Bun and browsers have
// them. Does not know envelopes.
// Invariants: handlers that were there before stay and get what is not ours; close() leaves everything as it was found.

import { PubSubError } from './errors.js';
import { wrong } from './options.js';

/** Why there is nobody on the other side any more. */
export interface ThreadEnd {
  readonly code: number;
  readonly reason: string;
  /** Left out when the end was orderly. */
  readonly cause?: unknown;
}

interface ThreadSink {
  /** Whether it is ours. */
  isOurs(data: unknown): boolean;
  message(data: unknown): void;
  /** A message came that could not be read. */
  unreadable(): void;
  /** The worker threw what nobody caught, and may go on. */
  failed(cause: unknown): void;
  ended(end: ThreadEnd): void;
}

/** The other thread, as far as a target needs it. */
export interface ThreadPort {
  post(message: object): void;
  open(sink: ThreadSink): void;
  close(): void;
}

type Handler = (event: unknown) => void;

/** What all workers, ports and scopes have; the rest is asked for. */
interface Postable {
  postMessage(message: unknown): void;
  addEventListener?(type: string, listener: Handler): void;
  removeEventListener?(type: string, listener: Handler): void;
  on?(type: string | symbol, listener: (...values: unknown[]) => void): void;
  off?(type: string | symbol, listener: (...values: unknown[]) => void): void;
  onmessage?: unknown;
  terminate?(): unknown;
  start?(): void;
  unref?(): void;
  listenerCount?(type: string): number;
}

/** A `Worker` of any runtime, as its host sees it. */
export interface WorkerLike {
  postMessage(message: unknown): void;
}

/** Throws unless `worker` can be talked to. */
export function hostPort(worker: WorkerLike): ThreadPort {
  const { postMessage, addEventListener, on } = Object(worker) as Partial<Postable>;
  if (typeof postMessage !== 'function' || (typeof addEventListener !== 'function' && typeof on !== 'function'))
    throw wrong('worker', 'a Worker', worker);
  // Node's is an EventEmitter and nothing else; those of the others, and ports, are EventTargets.
  return typeof addEventListener === 'function' ? new EventPort(worker, true) : new EmitterPort(worker);
}

interface Threads {
  readonly isMainThread: boolean;
  readonly parentPort: Postable | null;
}

interface Scope {
  readonly WorkerGlobalScope?: unknown;
  readonly process?: { getBuiltinModule?(name: string): unknown };
}

/** Throws `ERR_NOT_A_WORKER` outside of a worker. */
export function threadPort(): ThreadPort {
  const scope = globalThis as Scope;
  const { WorkerGlobalScope } = scope;
  if (typeof WorkerGlobalScope === 'function' && scope instanceof WorkerGlobalScope) {
    const self = scope as Partial<Postable>;
    // Shared and service workers have no host.
    if (typeof self.postMessage === 'function') return new EventPort(self as Postable, false);
  }
  // Asked for when it is needed: a browser has no such module.
  const threads = scope.process?.getBuiltinModule?.('node:worker_threads') as Threads | undefined;
  if (threads?.isMainThread === false && threads.parentPort !== null) return new EventPort(threads.parentPort, false);
  throw new PubSubError(
    'ERR_NOT_A_WORKER',
    'createWorkerThreadEventTarget() was called in a thread that is no worker; call it in the script of a Worker, and createWorkerHostEventTarget(worker) where the Worker was made',
  );
}

/** Workers, ports and scopes that are EventTargets. */
class EventPort implements ThreadPort {
  readonly #target: Postable;
  readonly #isHost: boolean;
  #undo: (() => void)[] = [];
  /** What the worker threw last: where it does not go on, its end follows. */
  #failure: unknown;

  constructor(target: Postable, isHost: boolean) {
    this.#target = target;
    this.#isHost = isHost;
  }

  post(message: object): void {
    this.#target.postMessage(message);
  }

  open(sink: ThreadSink): void {
    const isAlone = this.#target.listenerCount?.('message') === 0;
    this.#shield(sink);
    this.#listen('message', (event) => {
      const { data } = event as { data: unknown };
      if (sink.isOurs(data)) sink.message(data);
    });
    this.#listen('messageerror', () => sink.unreadable());
    // Node's ports and Bun's workers say it; elsewhere nobody does.
    this.#listen('close', (event) => sink.ended(this.#isHost ? endOf(event, this.#failure) : HOST_GONE));
    if (this.#isHost) {
      this.#listen('error', (event) => this.#fail(sink, event));
      this.#watchTerminate(sink);
    }
    // A port keeps its messages until it is started; a handler in `onmessage` does that, and in Node any listener.
    this.#target.start?.();
    // A listener holds the thread, in Node; whether ours should is the target's business.
    if (isAlone) this.#target.unref?.();
  }

  close(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
  }

  #listen(type: string, listener: Handler): void {
    this.#target.addEventListener?.(type, listener);
    this.#undo.push(() => this.#target.removeEventListener?.(type, listener));
  }

  /** A handler in `onmessage` gets only what is not ours. Listeners that were added get everything: nobody can list them. */
  #shield(sink: ThreadSink): void {
    const target = this.#target;
    const handler = target.onmessage;
    if (typeof handler !== 'function') return;
    const shielded = function (this: unknown, event: { data: unknown }): void {
      if (!sink.isOurs(event.data)) handler.call(this, event);
    };
    target.onmessage = shielded;
    this.#undo.push(() => {
      if (target.onmessage === shielded) target.onmessage = handler;
    });
  }

  /** Deno's workers end with what they do not catch, browsers' go on, Bun's say whether they do. */
  #fail(sink: ThreadSink, event: unknown): void {
    const { error, message } = event as { error?: unknown; message?: unknown };
    this.#failure = error ?? message ?? event;
    if ('Deno' in globalThis) sink.ended(failureOf(this.#failure));
    else sink.failed(this.#failure);
  }

  /** Browsers and Deno tell nobody that a worker was terminated: its own method does. */
  #watchTerminate(sink: ThreadSink): void {
    const target = this.#target;
    const { terminate } = target;
    if (typeof terminate !== 'function') return;
    const watched = (): unknown => {
      const result = terminate.call(target);
      sink.ended({ code: 1006, reason: 'the worker was terminated', cause: undefined });
      return result;
    };
    target.terminate = watched;
    this.#undo.push(() => {
      if (target.terminate === watched) Reflect.deleteProperty(target, 'terminate');
    });
  }
}

/** Node's Worker. */
class EmitterPort implements ThreadPort {
  readonly #worker: Postable;
  #undo: (() => void)[] = [];

  constructor(worker: Postable) {
    this.#worker = worker;
  }

  post(message: object): void {
    this.#worker.postMessage(message);
  }

  open(sink: ThreadSink): void {
    this.#listen('message', (data) => {
      if (sink.isOurs(data)) sink.message(data);
    });
    this.#listen('messageerror', () => sink.unreadable());
    this.#listen(errorMonitorOf(this.#worker), (cause) => sink.ended(failureOf(cause)));
    this.#listen('exit', (code) => sink.ended(exitOf(Number(code))));
  }

  close(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
  }

  #listen(type: string | symbol, listener: (...values: unknown[]) => void): void {
    this.#worker.on?.(type, listener);
    this.#undo.push(() => this.#worker.off?.(type, listener));
  }
}

/** Hears of an error without taking it from whoever handles it: without a handler the process ends as it would without us. */
function errorMonitorOf(worker: Postable): string | symbol {
  return (worker.constructor as { errorMonitor?: symbol }).errorMonitor ?? 'error';
}

function failureOf(cause: unknown): ThreadEnd {
  return { code: 1011, reason: 'the worker failed', cause };
}

function exitOf(code: number): ThreadEnd {
  if (code === 0) return { code: 1001, reason: 'the worker exited' };
  return { code: 1006, reason: `the worker exited with code ${code}`, cause: undefined };
}

const HOST_GONE: ThreadEnd = { code: 1001, reason: 'the host is gone' };

/** Bun's workers tell their exit code; a port has none. */
function endOf(event: unknown, failure: unknown): ThreadEnd {
  const { code } = event as { code?: unknown };
  const exit = typeof code === 'number' ? code : 0;
  return exit !== 0 && failure !== undefined ? failureOf(failure) : exitOf(exit);
}
