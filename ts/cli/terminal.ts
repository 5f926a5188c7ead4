// What the commands print, and where: results on standard output, as text or as one JSON object per line; everything about them on standard
// error. Knows when nobody reads any more. Does not decide what is said.
// Invariants: with --json nothing but JSON objects is on standard output, errors included, and nothing of ours on standard error. Texts of others
// move no cursor and change no colour: their control characters are written as escapes.

import type { WriteStream } from 'node:tty';

/** Pipes of Windows and some runtimes take writes without waiting: bytes that may wait there. Source: none, a guess. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** What takes longer than this gets a progress line, on a terminal. */
const PROGRESS_AFTER_MS = 1000;

/** What a write says when its reader has gone, here and on Windows. */
const ofReader: ReadonlySet<string> = new Set(['EPIPE', 'EOF']);

/** Text with its control characters as escapes of JSON, but for ends of lines and tabs. */
function tame(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

type Line = { readonly event: string; readonly [name: string]: unknown };

export class Terminal {
  readonly isJson: boolean;
  readonly #out: NodeJS.WriteStream;
  readonly #err: WriteStream;
  readonly #gone = new AbortController();
  #dropped = 0;
  #failure: Error | undefined;
  #hasProgress = false;

  constructor(isJson: boolean, out = process.stdout, err = process.stderr) {
    this.isJson = isJson;
    this.#out = out;
    this.#err = err;
    out.on('error', (error) => this.#end(error));
    // Who closed the one reads no complaint about it.
    err.on('error', () => {});
  }

  /** Aborted when nothing can be written to standard output any more. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Lines that found no room, because the reader of standard output was too slow. */
  get dropped(): number {
    return this.#dropped;
  }

  /** When everything is written: why it could not be, unless the reader has gone, which is no failure. */
  async written(): Promise<Error | undefined> {
    if (!this.#gone.signal.aborted)
      await new Promise<void>((resolve) => {
        this.#gone.signal.addEventListener('abort', () => resolve(), { once: true });
        // The error of a write is raised a turn behind its callback.
        this.#out.write('', () => setImmediate(resolve));
      });
    return this.#failure;
  }

  /** A result; `isVerbatim`: the user asked for it as it is. False when it was dropped. */
  result(text: string, line: Line, { isVerbatim = false } = {}): boolean {
    if (this.isJson) return this.#write(JSON.stringify(line));
    return this.#write(isVerbatim && !this.#out.isTTY ? text : tame(text));
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
      this.#complain(`\r\x1b[K${tame(text())} … ${seconds} s`);
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
    this.#complain(`${tame(text)}\n`);
  }

  /** To standard error; who closed it reads nothing about that. */
  #complain(text: string): void {
    try {
      this.#err.write(text);
    } catch {
      // Deno throws what the others raise, and there is nobody to tell.
    }
  }

  #write(text: string): boolean {
    if (this.#gone.signal.aborted) return false;
    if (this.#out.writableLength > MAX_WAITING_BYTES) {
      this.#dropped++;
      return false;
    }
    if (this.#out.isTTY) this.#wipe();
    try {
      this.#out.write(`${text}\n`);
    } catch (error) {
      // Deno throws what the others raise.
      this.#end(error as Error);
      return false;
    }
    return true;
  }

  #end(error: NodeJS.ErrnoException): void {
    if (!ofReader.has(error.code ?? '')) this.#failure ??= error;
    this.#gone.abort();
  }

  #wipe(): void {
    if (!this.#hasProgress) return;
    this.#hasProgress = false;
    this.#complain('\r\x1b[K');
  }
}
