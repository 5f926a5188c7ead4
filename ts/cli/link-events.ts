// Tells what happens to the link of a command: lost, back, gaps, errors. Counts what may have been lost. Ends nothing.

import type { NativeTarget } from '../types.js';
import type { Terminal } from './terminal.js';

export interface LinkEvents {
  /** How often events may have been missed or lost. */
  gaps(): number;
  /** Errors that the target raised, by their codes. */
  errors(): ReadonlyMap<string, number>;
}

export function tellAbout(target: NativeTarget, place: string, terminal: Terminal): LinkEvents {
  let gaps = 0;
  const errors = new Map<string, number>();
  target.addEventListener('open', ({ detail: { reconnected, native } }) => {
    if (reconnected) terminal.note(`connected again to ${place}`, { event: 'open', where: place, reconnected, native });
  });
  target.addEventListener('reconnecting', ({ detail: { attempt, delayMs, cause } }) => {
    const { code, message } = cause;
    terminal.note(`lost ${place}: ${message}; trying again in ${(delayMs / 1000).toFixed(1)} s`, {
      ...{ event: 'reconnecting', where: place, attempt, delayMs },
      cause: { code, message },
    });
  });
  target.addEventListener('gap', ({ detail }) => {
    gaps++;
    const [from, to] = [detail.from, detail.to].map((time) => new Date(time).toISOString());
    const count = detail.dropped === undefined ? 'events' : `${detail.dropped} events`;
    terminal.note(`gap: ${count} may be missing, ${from} to ${to} (${detail.cause})`, { event: 'gap', ...detail });
  });
  target.addEventListener('error', ({ detail: { code, message, dropped } }) => {
    errors.set(code, (errors.get(code) ?? 0) + (dropped ?? 0));
    // What ends the target is told by whoever waits for its end.
    if (target.state === 'open') terminal.note(`${code}: ${message}`, { event: 'problem', code, message, dropped });
  });
  return { gaps: () => gaps, errors: () => errors };
}

/** Resolves when the signal is aborted, at once if it was. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
