// Carries messages between WebSockets that other libraries have made and the engine. Does not route and does not decide who comes in.
// Invariants: the handlers that are replaced are there again when the socket is let go, however that comes; a socket is closed only when the
// engine ends its connection, never by being removed and never because the hub closes; what a socket has not sent is counted until it has.

import { joinHeaders } from './headers.js';
import { eachSocket, type LoadItem, loadMeta, Receipts } from './load.js';
import { checkNames, given, string, wrong } from './options.js';
import type { NativeDoor, NativePeer } from './port.js';
import { END, FED_PAUSE, FED_TOO_MUCH, RELEASE, RESUME, SEND } from './port.js';

/**
 * A WebSocket of any library: the standard interface (`ws`, Deno, undici), or `send` and `close` alone (Bun, Hono), whose messages are then
 * fed by hand.
 */
export interface ForeignWebSocket {
  send(data: string): unknown;
  close(code?: number, reason?: string): unknown;
}

/** What is known of a WebSocket that another library has made. */
export interface ConnectionOptions {
  /** The request that the WebSocket was made of: what `authorize.connect` and `connection.headers` know of the peer. */
  readonly request?: ForeignRequest;
  /** `host:port` of the peer. Default: that of the request's socket, where it has one. */
  readonly remoteAddress?: string;
}

/** What is needed of an `http.IncomingMessage` or of a `Request`. */
export interface ForeignRequest {
  readonly url?: string | undefined;
  readonly headers: object;
}

/** How a WebSocket without handlers of its own is fed; of no effect for others. */
export interface WebSocketFeed {
  /** A message came: a string or its bytes. */
  message(data: unknown): void;
  /** The socket has closed. */
  close(code?: number, reason?: string): void;
}

/** What sockets may have besides. */
interface Socket extends ForeignWebSocket {
  readonly readyState?: number;
  readonly bufferedAmount?: number;
  binaryType?: string;
  onopen?: Handler | null;
  onmessage?: Handler | null;
  onclose?: Handler | null;
  onerror?: Handler | null;
  readonly raw?: unknown;
  readonly _socket?: { cork?(): void; uncork?(): void } | null;
  getBufferedAmount?(): number;
  cork?(work: () => void): unknown;
  pause?(): void;
  resume?(): void;
}

type Handler = (event: never) => unknown;
type HandlerName = 'onopen' | 'onmessage' | 'onclose' | 'onerror';

/** `readyState` of the WebSocket standard. */
const CONNECTING = 0;
const OPEN = 1;

/** How often a socket that has not sent everything is asked again: it has no event for that. A guess. */
const POLL_MS = 4;

/** Bytes that are no UTF-8: what a message counts as that cannot be read. */
const UNREADABLE = Uint8Array.of(0xff);

export class CarriedSockets {
  readonly #door: NativeDoor;
  /** False: the hub is closing, and sockets are let go instead of closed. */
  readonly #mayClose: () => boolean;
  readonly #bySocket = new Map<object, Line>();
  readonly #byId = new Map<number, Line>();
  readonly #meta = loadMeta();
  readonly #receipts: Receipts;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(door: NativeDoor, mayClose: () => boolean) {
    this.#door = door;
    this.#mayClose = mayClose;
    this.#receipts = new Receipts((pairs, count) => door.messagesSent(pairs, count));
  }

  add(socket: ForeignWebSocket, options: ConnectionOptions): WebSocketFeed {
    checkNames(options, ['request', 'remoteAddress']);
    const own = innermost(socket);
    const known = this.#bySocket.get(own);
    if (known !== undefined) return known;
    const peer = peerOf(options);
    const line = new Line(own, this.#door, (gone) => this.#forget(gone));
    // What is over already does not come in, and nothing comes in when the hub is.
    if (this.#mayClose() && (own.readyState === undefined || own.readyState <= OPEN)) {
      this.#bySocket.set(own, line);
      line.begin(peer, (id) => this.#byId.set(id, line));
    }
    return line;
  }

  remove(socket: ForeignWebSocket): void {
    this.#bySocket.get(innermost(socket))?.leave(1000, 'removed');
  }

  /** The hub is over: what it has written still goes out, then every socket is its owner's again. */
  end(): void {
    this.carry();
    for (const line of [...this.#bySocket.values()]) line.leave(1001, 'the hub has closed');
    clearInterval(this.#timer);
  }

  /** The engine has something to carry. */
  readonly carry = (): void => {
    let hasMore = true;
    while (hasMore) {
      const texts = this.#door.takeMessages(this.#meta).split('\0');
      hasMore = eachSocket(this.#meta, (id, items) => this.#perform(id, items, texts));
      this.#receipts.flush();
    }
    this.#watch();
  };

  #perform(id: number, items: readonly LoadItem[], texts: readonly string[]): void {
    const line = this.#byId.get(id);
    if (line === undefined) return;
    line.corked(isMany(items), () => {
      for (const item of items) this.#do(item, line, texts);
    });
    this.#receipts.add(id, line.takeSent());
  }

  #do({ task, first, end, extra }: LoadItem, line: Line, texts: readonly string[]): void {
    switch (task) {
      case SEND:
        for (let i = first; i < end; i++) line.send(texts[i] as string);
        line.written += extra;
        return;
      case RESUME:
        return line.resume();
      case END:
        if (this.#mayClose()) line.shut(extra, texts[first] ?? '');
        return;
      case RELEASE:
        line.letGo();
    }
  }

  #forget(line: Line): void {
    this.#bySocket.delete(line.socket);
    this.#byId.delete(line.id);
  }

  /** Asks sockets that have not sent everything, as long as there are any. */
  #watch(): void {
    if (this.#timer !== undefined || !this.#isWaiting()) return;
    this.#timer = setInterval(() => {
      for (const line of this.#byId.values()) this.#receipts.add(line.id, line.takeSent());
      this.#receipts.flush();
      if (this.#isWaiting()) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    }, POLL_MS);
    (this.#timer as { unref?(): void }).unref?.();
  }

  #isWaiting(): boolean {
    for (const line of this.#byId.values()) if (line.isWaiting) return true;
    return false;
  }
}

/** One socket. */
class Line implements WebSocketFeed {
  readonly socket: Socket;
  readonly #door: NativeDoor;
  readonly #onGone: (line: Line) => void;
  readonly #kept = new Map<HandlerName, Handler | null | undefined>();
  #keptBinaryType: string | undefined;
  /** The engine's number; 0 before the socket is open. */
  id = 0;
  #isGone = false;
  /** Bytes that the engine gave, and of those the ones that it knows to have left. */
  written = 0;
  #sent = 0;

  constructor(socket: Socket, door: NativeDoor, onGone: (line: Line) => void) {
    this.socket = socket;
    this.#door = door;
    this.#onGone = onGone;
  }

  begin(peer: NativePeer, onId: (id: number) => void): void {
    const welcome = (): void => {
      this.id = this.#door.welcome(peer);
      onId(this.id);
    };
    this.#hook();
    if (this.socket.readyState !== CONNECTING) return welcome();
    this.#replace('onopen', (event) => {
      welcome();
      this.#callKept('onopen', event);
    });
  }

  get isWaiting(): boolean {
    return this.written > this.#sent;
  }

  message(data: unknown): void {
    if (this.#isGone || this.id === 0) return;
    const answer = typeof data === 'string' ? this.#door.receive(this.id, data) : this.#receiveBytes(data);
    if (answer === FED_PAUSE) this.socket.pause?.();
    if (answer === FED_TOO_MUCH) this.shut(1008, 'sent more than the hub can hold, and this socket cannot be paused');
  }

  close(code?: number, reason = ''): void {
    this.leave(code ?? 1005, reason);
  }

  /** The connection is over by the engine's wish, and with it the socket. */
  shut(code: number, reason: string): void {
    if (this.#isGone) return;
    this.leave(code, reason);
    const { socket } = this;
    if (socket.readyState === undefined || socket.readyState <= OPEN) closeSocket(socket, code, reason);
  }

  /** Nothing is heard of it any more, and its owner has it back. */
  leave(code: number, reason: string): void {
    if (this.#isGone) return;
    this.#tell(code, reason);
    this.letGo();
  }

  letGo(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    for (const [name, handler] of this.#kept) this.socket[name] = handler ?? null;
    if (this.#keptBinaryType !== undefined) this.socket.binaryType = this.#keptBinaryType;
    this.#onGone(this);
  }

  send(text: string): void {
    if (this.#isGone) return;
    try {
      this.socket.send(text);
    } catch {
      // A socket that cannot send any more: the hub hears that it is lost, as of any other connection.
      this.#tell(undefined, '');
      this.letGo();
    }
  }

  resume(): void {
    if (!this.#isGone) this.socket.resume?.();
  }

  /** Does many writes as one, where the library can. */
  corked(isMany: boolean, work: () => void): void {
    const { socket } = this;
    const inner = socket._socket;
    if (!isMany) return work();
    if (typeof socket.cork === 'function') return void socket.cork(work);
    if (typeof inner?.cork !== 'function' || typeof inner.uncork !== 'function') return work();
    inner.cork();
    work();
    inner.uncork();
  }

  /** Bytes that have left since this was asked last. */
  takeSent(): number {
    const { bufferedAmount, getBufferedAmount } = this.socket;
    const waiting = bufferedAmount ?? getBufferedAmount?.call(this.socket) ?? 0;
    const sent = Math.max(this.#sent, this.written - waiting);
    const news = sent - this.#sent;
    this.#sent = sent;
    return news;
  }

  #hook(): void {
    if (!('onmessage' in this.socket)) return;
    if (this.socket.binaryType === 'blob') {
      this.#keptBinaryType = 'blob';
      this.socket.binaryType = 'arraybuffer';
    }
    this.#replace('onmessage', ({ data }: { data: unknown }) => this.message(data));
    this.#replace('onclose', (event: { code: number; reason: string }) => {
      this.#tell(event.code, event.reason);
      this.letGo();
      this.#callKept('onclose', event);
    });
    // `ws` throws an error that nobody listens to; what it means is told with the close that follows.
    this.#replace('onerror', (event) => this.#callKept('onerror', event));
  }

  #replace<TEvent>(name: HandlerName, handler: (event: TEvent) => void): void {
    this.#kept.set(name, this.socket[name]);
    this.socket[name] = handler as Handler;
  }

  #callKept(name: HandlerName, event: unknown): void {
    this.#kept.get(name)?.call(this.socket, event as never);
  }

  #receiveBytes(data: unknown): number {
    if (data instanceof Uint8Array) return this.#door.receiveBytes(this.id, data);
    const bytes = data instanceof ArrayBuffer || data instanceof SharedArrayBuffer ? new Uint8Array(data) : UNREADABLE;
    return this.#door.receiveBytes(this.id, bytes);
  }

  #tell(code: number | undefined, reason: string): void {
    // 1006 says that nobody said goodbye.
    if (this.id !== 0) this.#door.depart(this.id, code === 1006 ? undefined : code, reason);
  }
}

/** Some libraries close with the codes of applications alone: there 1013 becomes 4013. */
function closeSocket(socket: Socket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    socket.close(code === 1000 || code >= 3000 ? 1000 : code + 3000, reason);
  }
}

function isMany(items: readonly LoadItem[]): boolean {
  return items.length > 1 || items.some(({ task, first, end }) => task === SEND && end - first > 1);
}

/** Hono wraps the socket of the runtime. */
function innermost(socket: ForeignWebSocket): Socket {
  if (!isSocket(socket)) throw wrong('socket', 'a WebSocket: an object with send() and close()', socket);
  const { raw } = socket as Socket;
  return isSocket(raw) ? raw : socket;
}

function isSocket(value: unknown): value is Socket {
  const { send, close } = Object(value) as Partial<Socket>;
  return typeof send === 'function' && typeof close === 'function';
}

function peerOf({ request, remoteAddress }: ConnectionOptions): NativePeer {
  const headers = request === undefined ? [] : headerPairs(request.headers);
  const offered = joinHeaders(headers)['sec-websocket-protocol'] ?? '';
  return {
    ...given({
      remoteAddress: string('remoteAddress', remoteAddress) ?? addressOf(request),
      url: request?.url === undefined ? undefined : pathAndQuery(request.url),
    }),
    headers,
    protocols: offered
      .split(',')
      .map((protocol) => protocol.trim())
      .filter((protocol) => protocol !== ''),
  } as NativePeer;
}

function headerPairs(headers: object): [string, string][] {
  const isStandard = typeof (headers as Headers).entries === 'function';
  const entries = isStandard ? [...(headers as Headers).entries()] : Object.entries(headers);
  return entries.flatMap(([name, value]) => [value].flat().map((one): [string, string] => [name, String(one)]));
}

function addressOf(request: ForeignRequest | undefined): string | undefined {
  const { remoteAddress, remotePort } = Object((request as { socket?: unknown } | undefined)?.socket) as {
    remoteAddress?: string;
    remotePort?: number;
  };
  if (remoteAddress === undefined || remotePort === undefined) return;
  return remoteAddress.includes(':') ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`;
}

function pathAndQuery(url: string): string {
  if (url.startsWith('/')) return url;
  const { pathname, search } = new URL(url);
  return pathname + search;
}
