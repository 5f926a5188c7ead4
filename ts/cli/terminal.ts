// What the commands print, and where: results on standard output, as text or as one JSON object per line; everything about them on standard
// error. Knows when nobody reads any more. Does not decide what is said.
// Invariant: with --json nothing but JSON objects is on standard output, errors included, and nothing of ours on standard error.

import type { WriteStream } from 'node:tty';

/** Pipes of Windows and some runtimes take writes without waiting: bytes that may wait there. Source: none, a guess. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** What takes longer than this gets a progress line, on a terminal. */
const PROGRESS_AFTER_MS = 1000;

type Line = { readonly event: string; readonly [name: string]: unknown };

export class Terminal {
  readonly isJson: boolean;
  readonly #out: NodeJS.WriteStream;
  readonly #err: WriteStream;
  readonly #gone = new AbortController();
  #dropped = 0;
  #hasProgress = false;

  constructor(isJson: boolean, out = process.stdout, err = process.stderr) {
    this.isJson = isJson;
    this.#out = out;
    this.#err = err;
    out.on('error', () => this.#gone.abort());
    // Who closed the one reads no complaint about it.
    err.on('error', () => {});
  }

  /** Aborted when the reader of standard output has gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Lines that found no room, because the reader of standard output was too slow. */
  get dropped(): number {
    return this.#dropped;
  }

  /** A result. False when it was dropped. */
  result(text: string, line: Line): boolean {
    return this.#write(this.isJson ? JSON.stringify(line) : text);
  }

  /** Something about the results: for people on standard error. */
  note(text: string, line: Line): void {
    if (this.isJson) this.#write(JSON.stringify(line));
    else this.#say(text);
  }

  /** Why a command ends. */
  failure(code: string, message: string): void {
    this.note(`error: ${message}`, { event: 'error', code, message });
  }

  /** While `work` takes longer than a second, a line of `text` with the time, on a terminal. */
  async during<T>(text: () => string, work: Promise<T>): Promise<T> {
    if (this.isJson || !this.#err.isTTY) return work;
    const start = performance.now();
    const timer = setInterval(() => {
      const seconds = Math.round((performance.now() - start) / 1000);
      this.#err.write(`\r\x1b[K${text()} … ${seconds} s`);
      this.#hasProgress = true;
    }, PROGRESS_AFTER_MS);
    try {
      return await work;
    } finally {
      clearInterval(timer);
      this.#wipe();
    }
  }

  #say(text: string): void {
    this.#wipe();
    this.#err.write(`${text}\n`);
  }

  #write(text: string): boolean {
    if (this.#gone.signal.aborted) return false;
    if (this.#out.writableLength > MAX_WAITING_BYTES) {
      this.#dropped++;
      return false;
    }
    if (this.#out.isTTY) this.#wipe();
    this.#out.write(`${text}\n`);
    return true;
  }

  #wipe(): void {
    if (!this.#hasProgress) return;
    this.#hasProgress = false;
    this.#err.write('\r\x1b[K');
  }
}
