// Timers that hold no process and take any number of milliseconds. Does not repeat anything.

/** The longest delay a timer can have; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

export type Timer = ReturnType<typeof setTimeout>;

/** Calls `act` after `ms`, or after 24 days when that is longer. */
export function later(ms: number, act: () => void): Timer {
  const timer = setTimeout(act, Math.min(ms, MAX_DELAY_MS));
  (timer as { unref?(): void }).unref?.();
  return timer;
}
