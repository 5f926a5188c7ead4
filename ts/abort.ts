// Watches abort signals, with one listener per signal however many wait for it.
// A listener each would make Node warn of a leak at eleven, and removing one would walk through all.
// Invariant: a signal that nobody watches any more has no listener of ours.

const watchers = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `act` when `signal` is aborted; returns what takes that back. A signal that is aborted already calls nothing. */
export function onAbort(signal: AbortSignal, act: () => void): () => void {
  const acts = watchers.get(signal) ?? watch(signal);
  acts.add(act);
  return () => {
    if (!acts.delete(act) || acts.size > 0) return;
    watchers.delete(signal);
    signal.removeEventListener('abort', tell);
  };
}

function watch(signal: AbortSignal): Set<() => void> {
  const acts = new Set<() => void>();
  watchers.set(signal, acts);
  signal.addEventListener('abort', tell, { once: true });
  return acts;
}

function tell(this: AbortSignal): void {
  const acts = watchers.get(this);
  watchers.delete(this);
  for (const act of acts ?? []) act();
}
