// Keeps open targets reachable and, while one of them asks for it, the process alive.
// Does not know why a target is open. The addon keeps nothing alive itself: all its handles are weak.
// Invariant: there is a timer exactly while a target holds the process.

import { clearInterval, setInterval } from 'node:timers';

/** The longest delay a timer can have; it only has to exist. */
const FOREVER_MS = 2 ** 31 - 1;

/** Targets without a variable pointing to them still receive: nothing else would keep their listeners. */
const open = new Set<object>();
const holders = new Set<object>();
let timer: NodeJS.Timeout | undefined;

/** `target` opened and keeps the process alive until `release` or `forget`. */
export function hold(target: object): void {
  open.add(target);
  holders.add(target);
  timer ??= setInterval(() => {}, FOREVER_MS);
}

/** `target` opened and does not keep the process alive. */
export function keep(target: object): void {
  open.add(target);
}

/** `target` stays open but no longer keeps the process alive. */
export function release(target: object): void {
  holders.delete(target);
  if (holders.size > 0 || timer === undefined) return;
  clearInterval(timer);
  timer = undefined;
}

/** `target` has closed. */
export function forget(target: object): void {
  open.delete(target);
  release(target);
}

/** Whether `target` is open. */
export function isOpen(target: object): boolean {
  return open.has(target);
}
