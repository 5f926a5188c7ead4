// Bounds the time of a step. Not AbortSignal.timeout: on Deno its timer keeps a finished program alive.

/** Runs `work` with a signal that is aborted after so long, and not after `work` has ended. */
export async function withDeadline<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const message = `nothing came within ${ms / 1000} s`;
  const timer = setTimeout(() => late.abort(new DOMException(message, 'TimeoutError')), ms);
  try {
    return await work(late.signal);
  } finally {
    clearTimeout(timer);
  }
}
