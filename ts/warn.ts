// Tells about errors that no `error` listener hears: as a warning of the process, never as a crash.
// Does not decide what an error is.
// Invariant: at most one warning per code and minute; a log must not become the load of a storm.

import type { PubSubError } from './errors.js';

/** Source: contract section 2, "one per code and minute". */
const QUIET_MS = 60_000;

/** Codes come from a closed table or from peers by way of the engine's; this many more than either has. */
const MAX_CODES = 1024;

const lastWarned = new Map<string, number>();

export function warnUnheard({ message, code }: PubSubError): void {
  warnSeldom(`${message} (listen to "error")`, code);
}

/** Says something once per code and minute. */
export function warnSeldom(message: string, code: string): void {
  const now = Date.now();
  const last = lastWarned.get(code) ?? 0;
  if (now - last < QUIET_MS) return;
  if (lastWarned.size >= MAX_CODES) lastWarned.clear();
  lastWarned.set(code, now);
  warn(message, code);
}

const warned = new Set<string>();

/** Says something that is true for the whole process, once. */
export function warnOnce(message: string, code: string): void {
  if (warned.has(code)) return;
  warned.add(code);
  warn(message, code);
}

interface ProcessLike {
  emitWarning?(message: string, options: { type: string; code: string }): void;
}

function warn(message: string, code: string): void {
  const { process } = globalThis as { process?: ProcessLike };
  if (typeof process?.emitWarning === 'function') process.emitWarning(message, { type: 'PubSubWarning', code });
  // biome-ignore lint/suspicious/noConsole: where there is no process, the console is the place for warnings
  else console.warn(`${code}: ${message}`);
}
