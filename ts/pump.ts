// Carries bytes between sockets of other servers and the engine, for sockets whose descriptor cannot be taken over.
// Does not read the bytes and does not decide who comes in.
// Invariants: both ways are bounded: a socket is paused when the engine is behind, what a socket has not sent is counted until it has;
// many sockets that get the same write the same buffer.

import { eachSocket, type LoadItem, loadMeta, Receipts } from './load.js';
import type { NativeDoor, NativeVisitor } from './port.js';
import { END, FED_GONE, FED_MORE, FED_PAUSE, RELEASE, RESUME, SEND } from './port.js';

/** The part of a stream that is needed: of `net.Socket`, `tls.TLSSocket`, any `Duplex`. */
export interface CarriedSocket {
  readonly destroyed: boolean;
  readonly readableEnded: boolean;
  readonly writableLength: number;
  on(event: string, listener: (...details: never[]) => void): unknown;
  read(): unknown;
  write(bytes: Uint8Array, callback: () => void): unknown;
  end(): unknown;
  destroy(): unknown;
  pause(): unknown;
  resume(): unknown;
  cork(): void;
  uncork(): void;
  destroySoon?(): unknown;
  setTimeout?(ms: number): unknown;
  setNoDelay?(on: boolean): unknown;
}

interface Line {
  readonly socket: CarriedSocket;
  readonly onSent: () => void;
  /** Bytes written, and of those the ones that have left. */
  written: number;
  sent: number;
}

export class Pump {
  readonly #door: NativeDoor;
  readonly #lines = new Map<number, Line>();
  readonly #meta = loadMeta();
  readonly #receipts: Receipts;

  constructor(door: NativeDoor) {
    this.#door = door;
    this.#receipts = new Receipts((pairs, count) => door.bytesSent(pairs, count));
  }

  /** Carries a socket from now on; `request` is what was read of it. */
  add(socket: CarriedSocket, visitor: NativeVisitor, request: Uint8Array): void {
    const door = this.#door;
    const id = door.carry(visitor, request);
    this.#lines.set(id, { socket, onSent: () => this.#collect(id), written: 0, sent: 0 });
    // Servers put time-outs on requests; this is none any more.
    socket.setTimeout?.(0);
    socket.setNoDelay?.(true);
    socket.on('data', (bytes: Uint8Array) => this.#feed(id, socket, bytes));
    // Sockets of servers stay open for writing when the peer has ended its side: without this a peer that leaves would not be noticed.
    socket.on('end', () => door.hangUp(id, false));
    socket.on('close', () => this.#lose(id));
    if (socket.destroyed) this.#lose(id);
    else if (socket.readableEnded) door.hangUp(id, false);
    else socket.resume();
  }

  /** The engine has something to carry. */
  readonly carry = (): void => {
    let hasMore = true;
    while (hasMore) {
      const bytes = this.#door.takeBytes(this.#meta);
      const views = new Views(bytes);
      hasMore = eachSocket(this.#meta, (id, items) => this.#perform(id, items, views));
      this.#receipts.flush();
    }
  };

  #feed(id: number, socket: CarriedSocket, bytes: Uint8Array): void {
    const answer = this.#door.feed(id, bytes);
    if (answer === FED_PAUSE) socket.pause();
    // A stream that goes on after pause() for megabytes is none that can be bounded.
    else if (answer !== FED_MORE && answer !== FED_GONE) socket.destroy();
  }

  #lose(id: number): void {
    if (this.#lines.delete(id)) this.#door.hangUp(id, true);
  }

  #perform(id: number, items: readonly LoadItem[], views: Views): void {
    const line = this.#lines.get(id);
    if (line === undefined) return;
    const { socket } = line;
    const corks = items.length > 1;
    if (corks) socket.cork();
    for (const item of items) this.#do(item, line, views);
    if (corks) socket.uncork();
    this.#count(id, line);
  }

  #do({ id, task, first, end }: LoadItem, line: Line, views: Views): void {
    const { socket } = line;
    switch (task) {
      case SEND:
        line.written += end - first;
        return void socket.write(views.at(first, end), line.onSent);
      case RESUME:
        return void socket.resume();
      case END:
        return void socket.end();
      case RELEASE:
        this.#lines.delete(id);
        if (socket.destroySoon === undefined) socket.end();
        else socket.destroySoon();
    }
  }

  #count(id: number, line: Line): void {
    const sent = line.written - line.socket.writableLength;
    this.#receipts.add(id, sent - line.sent);
    line.sent = Math.max(line.sent, sent);
  }

  #collect(id: number): void {
    const line = this.#lines.get(id);
    if (line === undefined || line.sent === line.written) return;
    this.#count(id, line);
    this.#receipts.flush();
  }
}

/** Parts of one buffer; the last one again when it is asked for again. */
class Views {
  readonly #bytes: Uint8Array;
  #first = 0;
  #end = 0;
  #view: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = bytes.subarray(0, 0);
  }

  at(first: number, end: number): Uint8Array {
    if (this.#first !== first || this.#end !== end) {
      this.#view = this.#bytes.subarray(first, end);
      this.#first = first;
      this.#end = end;
    }
    return this.#view;
  }
}
