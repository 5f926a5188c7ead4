// Waits for a target that nobody else has yet. Does not close it.
// Invariant: what goes wrong until it is open rejects, and is no warning of the process besides: nobody could have listened.

interface Opening extends Pick<EventTarget, 'addEventListener' | 'removeEventListener'> {
  ready(topic?: undefined, options?: { readonly signal?: AbortSignal }): Promise<unknown>;
}

export async function opened(target: Opening, signal?: AbortSignal): Promise<void> {
  const told = (): void => {};
  target.addEventListener('error', told);
  try {
    await target.ready(undefined, signal === undefined ? {} : { signal });
  } finally {
    target.removeEventListener('error', told);
  }
}
