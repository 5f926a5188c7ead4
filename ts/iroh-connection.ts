// Connections, streams and datagrams of your own over Iroh. Does not frame anything, and does not connect or accept (iroh.ts).
// Invariant: whatever waits here can be given up, by a signal or a limit, and holds nothing afterwards.

import { clearTimeout, setTimeout } from 'node:timers';
import { onAbort } from './abort.js';
import { PubSubError } from './errors.js';
import { calling, toPubSubError } from './iroh-native.js';
import { abortSignal, nonNegativeInteger, positiveInteger, wrong } from './options.js';
import type { NativeConnection, NativeConnectionEnd, NativeOperation, NativeOutcome, NativeStreams } from './port.js';

/** How long something may take. */
export interface WaitOptions {
  /** Gives it up with the reason of the signal. */
  readonly signal?: AbortSignal;
  /** Gives it up with `ERR_TIMED_OUT` after so many milliseconds. Default: never. */
  readonly timeoutMs?: number;
}

/** How a connection ended. */
export interface ConnectionEnd {
  /** The code that the peer's application gave, if it did. */
  readonly code: number | undefined;
  readonly reason: string;
}

/** A way that packets of a connection can take. */
export interface ConnectionPath {
  /** `direct`: to the peer's own socket. `relay`: through a relay. */
  readonly kind: 'direct' | 'relay' | 'other';
  /** The socket address, or the URL of the relay. */
  readonly address: string;
  /** Data takes this one. */
  readonly selected: boolean;
  /** The round-trip time, as far as it is known. */
  readonly rttMs: number;
  /** Bytes sent by this way, in UDP datagrams. */
  readonly sentBytes: number;
  /** Bytes received by it. */
  readonly receivedBytes: number;
  /** Packets sent by it and taken for lost. */
  readonly lostPackets: number;
}

/** Counters of a connection, of UDP datagrams and their bytes. */
export interface ConnectionStats {
  readonly sentBytes: number;
  readonly receivedBytes: number;
  readonly sentDatagrams: number;
  readonly receivedDatagrams: number;
  readonly lostPackets: number;
  readonly lostBytes: number;
}

/** Starts an operation and waits for it, which does not keep the process alive; `take` gets what it brought. */
export async function operate<T>(
  start: (onDone: (outcome: NativeOutcome) => void) => NativeOperation,
  take: (operation: NativeOperation) => T,
  { signal, timeoutMs }: WaitOptions = {},
): Promise<T> {
  abortSignal('signal', signal)?.throwIfAborted();
  nonNegativeInteger('timeoutMs', timeoutMs, MAX_TIMEOUT_MS);
  let ignore = (): void => {};
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<T>((resolve, reject) => {
      const operation = calling(() =>
        start(({ code, message }) => {
          if (code === undefined || code === null) resolve(new Promise<T>((taken) => taken(take(operation))));
          else reject(toPubSubError(new Error(`${code}: ${message}`)));
        }),
      );
      const giveUp = (reason: unknown): void => {
        // What has been brought just now is not thrown away.
        if (operation.cancel()) reject(reason);
      };
      if (signal !== undefined) ignore = onAbort(signal, () => giveUp(signal.reason));
      if (timeoutMs !== undefined)
        timer = setTimeout(
          () => giveUp(new PubSubError('ERR_TIMED_OUT', `not done within ${timeoutMs} ms`)),
          timeoutMs,
        ).unref();
    });
  } finally {
    ignore();
    clearTimeout(timer);
  }
}

/** Longest limit in milliseconds: what fits a timer. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
/** Most bytes of one read. */
const MAX_READ_BYTES = 64 * 1024 * 1024;
/** What `read` asks for when it is not told. */
const READ_BYTES = 64 * 1024;
/** The codes that QUIC carries and a number holds here. */
const MAX_CODE = 2 ** 32 - 1;

const nothing = (): void => {};

/** The sending half of a stream. */
export class SendStream {
  readonly #native: NativeStreams;

  /** @internal */
  constructor(native: NativeStreams) {
    this.#native = native;
  }

  /** Sends all of it. Given up before it is done, a part may have been sent. */
  writeAll(bytes: Uint8Array, options?: WaitOptions): Promise<void> {
    const copy = readBytes(bytes);
    return operate((onDone) => this.#native.writeAll(copy, onDone), nothing, options);
  }

  /** Ends the stream and waits until the peer has got all of it. `ERR_STREAM_ENDED` when it has stopped the stream with a code. */
  finish(options?: WaitOptions): Promise<void> {
    return operate((onDone) => this.#native.finish(onDone), nothing, options);
  }

  /** Gives the stream up at once, and what waits on it here: the peer hears the code, what has not arrived may be lost. */
  reset(code: number = 0): void {
    calling(() => this.#native.reset(readCode(code)));
  }
}

/**
 * The receiving half of a stream. Read it steadily: a peer that sends thousands of small pieces which nobody reads loses its whole connection in this
 * version of the QUIC engine.
 */
export class RecvStream {
  readonly #native: NativeStreams;

  /** @internal */
  constructor(native: NativeStreams) {
    this.#native = native;
  }

  /** Exactly so many bytes; `ERR_STREAM_ENDED` when fewer come. Given up before it is done, what had come is lost. */
  readExact(count: number, options?: WaitOptions): Promise<Uint8Array> {
    nonNegativeInteger('count', count, MAX_READ_BYTES);
    return operate((onDone) => this.#native.readExact(count, onDone), takeBytes, options);
  }

  /** What comes next, at most `max` bytes (default 65 536); `undefined` at the end of the stream. */
  read(max: number = READ_BYTES, options?: WaitOptions): Promise<Uint8Array | undefined> {
    positiveInteger('max', max, MAX_READ_BYTES);
    return operate((onDone) => this.#native.read(max, onDone), maybeBytes, options);
  }

  /** Everything up to the end of the stream; `ERR_MESSAGE_TOO_LARGE` above `max` bytes. */
  readToEnd(max: number, options?: WaitOptions): Promise<Uint8Array> {
    nonNegativeInteger('max', max, MAX_READ_BYTES);
    return operate((onDone) => this.#native.readToEnd(max, onDone), takeBytes, options);
  }

  /** Wants no more, and gives up what waits on it here: the peer hears the code when it writes. */
  stop(code: number = 0): void {
    calling(() => this.#native.stop(readCode(code)));
  }
}

/** A stream both ways. */
export interface BiStream {
  readonly send: SendStream;
  readonly recv: RecvStream;
}

/**
 * A connection between two endpoints. Lives until one of them closes it, or its endpoint; one that is forgotten is not closed.
 */
export class Connection {
  readonly #native: NativeConnection;
  #closed: Promise<ConnectionEnd> | undefined;

  /** @internal */
  constructor(native: NativeConnection) {
    this.#native = native;
  }

  /** 64 lower-case hex digits. */
  remoteNodeId(): string {
    return this.#native.remoteId();
  }

  /** The protocol by which it was made. */
  alpn(): string {
    return this.#native.alpn();
  }

  /** Opens a stream. The peer hears of it with the first byte. */
  openBi(options?: WaitOptions): Promise<BiStream> {
    return operate((onDone) => this.#native.openBi(onDone), takeStreams, options);
  }

  /** Waits for a stream of the peer's. */
  acceptBi(options?: WaitOptions): Promise<BiStream> {
    return operate((onDone) => this.#native.acceptBi(onDone), takeStreams, options);
  }

  /** Opens a stream that this side alone writes. The peer hears of it with the first byte. */
  openUni(options?: WaitOptions): Promise<SendStream> {
    return operate(
      (onDone) => this.#native.openUni(onDone),
      (operation) => takeStreams(operation).send,
      options,
    );
  }

  /** Waits for a stream that the peer alone writes. */
  acceptUni(options?: WaitOptions): Promise<RecvStream> {
    return operate(
      (onDone) => this.#native.acceptUni(onDone),
      (operation) => takeStreams(operation).recv,
      options,
    );
  }

  /** Bytes that a datagram may have at the moment; it changes with the path. `undefined` when the peer takes none. */
  maxDatagramSize(): number | undefined {
    return this.#native.maxDatagramSize() ?? undefined;
  }

  /** Sends bytes that may be lost, or come in another order. `ERR_MESSAGE_TOO_LARGE` above what one packet holds. */
  sendDatagram(bytes: Uint8Array, options?: WaitOptions): Promise<void> {
    const copy = readBytes(bytes);
    return operate((onDone) => this.#native.sendDatagram(copy, onDone), nothing, options);
  }

  readDatagram(options?: WaitOptions): Promise<Uint8Array> {
    return operate((onDone) => this.#native.readDatagram(onDone), takeBytes, options);
  }

  /** Closes the connection at once: what was not delivered is lost. Await `finish()` of your streams before. A reason is cut after 512 bytes. */
  close(code: number = 0, reason: string = ''): void {
    if (typeof reason !== 'string') throw wrong('reason', 'a string', reason);
    this.#native.close(readCode(code), reason);
  }

  /** How it ended. Rejects only by `signal` or `timeoutMs`. */
  closed(options?: WaitOptions): Promise<ConnectionEnd> {
    const wait = (): Promise<ConnectionEnd> =>
      operate(
        (onDone) => this.#native.closed(onDone),
        (operation) => readEnd(operation.takeEnd() ?? { reason: '' }),
        options,
      );
    if (options !== undefined) return wait();
    this.#closed ??= wait();
    return this.#closed;
  }

  /** How it ended, or `undefined` while it lives. */
  closeReason(): ConnectionEnd | undefined {
    const end = this.#native.closeReason();
    return end === null ? undefined : readEnd(end);
  }

  /** The ways that packets can take at the moment: directly or through a relay. Data takes the selected one. */
  paths(): readonly ConnectionPath[] {
    return this.#native.paths();
  }

  /** What it has sent and received, over all paths. */
  stats(): ConnectionStats {
    return this.#native.stats();
  }
}

function readEnd({ code, reason }: NativeConnectionEnd): ConnectionEnd {
  return { code: code ?? undefined, reason };
}

function readCode(code: number): number {
  return nonNegativeInteger('code', code, MAX_CODE) as number;
}

function readBytes(bytes: Uint8Array): Uint8Array {
  if (!(bytes instanceof Uint8Array)) throw wrong('bytes', 'a Uint8Array', bytes);
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function maybeBytes(operation: NativeOperation): Uint8Array | undefined {
  return operation.takeBytes() ?? undefined;
}

function takeBytes(operation: NativeOperation): Uint8Array {
  return maybeBytes(operation) ?? new Uint8Array();
}

function takeStreams(operation: NativeOperation): BiStream {
  const streams = operation.takeStreams();
  if (streams === null) throw new PubSubError('ERR_INTERNAL', 'a stream was announced and is not there');
  return { send: new SendStream(streams), recv: new RecvStream(streams) };
}
