// One link of a spoke over a WebSocket object, from its opening to its end: hello, subscriptions, events both ways. The engine's is
// engine/src/spoke/session.rs. Does not decide about the next link, and closes the socket only when it is told to.
// Invariants: the hub hears hello, then every topic, then events; after `end` the host hears nothing more of this link.

import type { ErrorCode } from '../errors.js';
import { Heartbeat } from '../heartbeat.js';
import { controlText, HELLO, readEnvelope, subscribeText, unsubscribeText } from '../wire.js';
import { Hearing } from './hearing.js';
import type { SessionHost, SessionOptions, WebSocketEventName, WebSocketLike } from './link.js';
import { later, type Timer } from './timer.js';
import { codeOf, cutReason, sendable } from './verdict.js';

/** `readyState` of a socket. Source: the WebSocket standard. */
const CONNECTING = 0;
const OPEN = 1;

/** Bytes that may wait in the socket while pings are sent and answered. A guess. */
const MAX_ANSWERS = 65_536;

type Phase = 'connecting' | 'unknown' | 'native' | 'plain';

export class Session {
  readonly #socket: WebSocketLike;
  readonly #options: SessionOptions;
  readonly #host: SessionHost;
  readonly #heartbeat: Heartbeat;
  readonly #hearing: Hearing;
  #phase: Phase = 'connecting';
  /** Of the handshake, then of the hello. */
  #timer: Timer | undefined;
  #isAdmitted = false;
  #isOver = false;
  #startedAt = performance.now();
  /** Events sent, and those of them that the hub has surely received: a ping carries the first number, its answer brings it back. */
  #sent = 0;
  #proven = 0;
  /** Topics asked for and not answered, each with the events sent before it; in that order. */
  #asked: (readonly [n: number, sent: number])[] = [];
  #failure: unknown;
  /** Bytes that had to wait in the socket, ever, and how many of them had left when that was looked at last. */
  #waited = 0;
  #left = 0;
  #hasHeard = false;

  constructor(socket: WebSocketLike, options: SessionOptions, host: SessionHost) {
    this.#socket = socket;
    this.#options = options;
    this.#host = host;
    this.#hearing = new Hearing(this, host, options);
    this.#heartbeat = new Heartbeat(options.heartbeatMs, {
      onSilence: () => this.say(controlText('__ping', { t: this.#sent })),
      onDeath: () => this.fail(1006, 'no byte came for 2.5 heartbeats', 'ERR_TIMED_OUT'),
      isTaking: () => this.#isTaking(),
      isOwed: () => this.#sent > this.#proven,
    });
    for (const [type, listener] of this.#handlers) socket.addEventListener(type, listener);
    if (socket.readyState === CONNECTING) this.#limitHandshake(options.handshakeMs);
    // In a later microtask, so that listeners of this turn are subscribed right behind the hello.
    else queueMicrotask(() => this.#begin());
  }

  get isAdmitted(): boolean {
    return this.#isAdmitted;
  }

  /** The socket is open and hello was said. */
  get hasBegun(): boolean {
    return this.#phase !== 'connecting' && !this.#isOver && this.#socket.readyState === OPEN;
  }

  /** The hub has said something: before, it may not have read anything either. */
  get hasHeard(): boolean {
    return this.#hasHeard;
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  /** An event. */
  send(text: string): void {
    this.#sent++;
    this.#host.counters.sent++;
    const before = this.#socket.bufferedAmount;
    this.#socket.send(text);
    this.#waited += Math.max(0, this.#socket.bufferedAmount - before);
  }

  subscribe(topic: string): void {
    if (!this.hasBegun) return;
    const n = this.#host.subscriptions.ask(topic);
    this.#socket.send(subscribeText(topic, n));
    if (this.#phase === 'plain') this.#written(topic);
    else this.#asked.push([n, this.#sent]);
  }

  unsubscribe(topic: string): void {
    if (this.hasBegun) this.#socket.send(unsubscribeText(topic));
  }

  /** Something that is not worth waiting for; a hub that asks and does not read gets no more answers. */
  say(text: string): void {
    if (this.hasBegun && this.#socket.bufferedAmount <= MAX_ANSWERS) this.#socket.send(text);
  }

  /** Asks the socket to close in order; `ended` comes when it has. */
  close(code: number, reason: string): void {
    closeSocket(this.#socket, code, reason);
  }

  /** Takes our listeners off the socket: nothing more is heard of it. */
  leave(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#heartbeat.stop();
    for (const [type, listener] of this.#handlers) this.#socket.removeEventListener(type, listener);
  }

  /** Ends the link from our side. */
  fail(code: number, reason: string, errorCode: ErrorCode): void {
    if (this.#isOver) return;
    this.#end(code, reason, errorCode, code === 1006 ? `connection lost: ${reason}` : reason);
  }

  /** The hub has said hello. */
  greet(answersPings: boolean): boolean {
    if (this.#phase === 'native') return false;
    const wasPlain = this.#phase === 'plain';
    this.#phase = 'native';
    if (answersPings) this.#heartbeat.start();
    if (wasPlain) this.#host.upgraded();
    this.#admit(true);
    return true;
  }

  /** Something came before the hello, or nothing did. False when that was the end. */
  takeForPlain(): boolean {
    if (this.#phase !== 'unknown') return !this.#isOver;
    if (this.#options.peer === 'native') {
      this.fail(1002, 'the hub did not say hello, and peer is "native"', 'ERR_NO_HELLO');
      return false;
    }
    this.#phase = 'plain';
    this.#asked = [];
    this.#admit(false);
    for (const topic of this.#host.subscriptions.asked) this.#written(topic);
    return !this.#isOver;
  }

  /** The hub has received what was sent before it was asked for a topic that it answers now. */
  proveAnswered(n: unknown): void {
    while (this.#asked[0] !== undefined && typeof n === 'number' && this.#asked[0][0] <= n)
      this.prove((this.#asked.shift() as readonly [number, number])[1]);
  }

  /** The hub has received so many of the events of this link. */
  prove(sent: unknown): void {
    if (typeof sent !== 'number') return;
    this.#heartbeat.answered();
    this.#proven = Math.max(this.#proven, Math.min(sent, this.#sent));
  }

  readonly #handlers: readonly (readonly [WebSocketEventName, (event: object) => void])[] = [
    ['open', (): void => this.#begin()],
    ['message', (event): void => this.#receive((event as { data: unknown }).data)],
    ['close', (event): void => this.#lose(event as { code: number; reason: string })],
    // Some implementations throw what no `error` listener hears; the reason is told with the close that follows.
    ['error', (event): void => this.#note(event)],
  ];

  #begin(): void {
    if (this.#isOver || this.#phase !== 'connecting') return;
    if (this.#socket.readyState !== OPEN) return this.#lose({ code: 1006, reason: 'the socket was closed already' });
    clearTimeout(this.#timer);
    this.#startedAt = performance.now();
    const { peer, helloTimeoutMs } = this.#options;
    this.#phase = 'unknown';
    if (peer === 'plain') this.#phase = 'plain';
    else {
      this.#socket.send(HELLO);
      this.#timer = later(helloTimeoutMs, () => this.takeForPlain());
    }
    for (const topic of this.#host.subscriptions.topics) this.subscribe(topic);
    this.#host.begun();
    if (peer === 'plain') this.#admit(false);
  }

  #limitHandshake(ms: number): void {
    if (ms === Number.POSITIVE_INFINITY) return;
    this.#timer = later(ms, () => this.fail(1006, `no connection within ${ms} ms`, 'ERR_TIMED_OUT'));
  }

  #admit(native: boolean): void {
    clearTimeout(this.#timer);
    if (this.#isAdmitted) return;
    this.#isAdmitted = true;
    this.#host.admitted(native);
  }

  /** Whether what waits in the socket goes on leaving it: a ping would wait behind that. */
  #isTaking(): boolean {
    const before = this.#left;
    this.#left = this.#waited - this.#socket.bufferedAmount;
    return this.#left > before;
  }

  #written(topic: string): void {
    this.#host.subscriptions.written(topic);
    this.#host.settled(topic);
  }

  #receive(data: unknown): void {
    if (this.#isOver) return;
    this.#heartbeat.heard();
    this.#hasHeard = true;
    const { length, byteLength = length } = Object(data) as { length?: number; byteLength?: number };
    if (byteLength !== undefined && byteLength > this.#options.maxMessageBytes)
      return this.fail(1009, 'a message is larger than maxMessageBytes', 'ERR_MESSAGE_TOO_LARGE');
    this.#hearing.hear(readEnvelope(data), byteLength ?? 0);
  }

  #note({ error, message }: { error?: unknown; message?: string }): void {
    this.#failure = error ?? message;
  }

  #lose({ code, reason }: { code: number; reason: string }): void {
    if (this.#isOver) return;
    const wasOpen = this.#phase !== 'connecting';
    const said = reason === '' ? '' : `: ${reason}`;
    const message = wasOpen
      ? `the hub closed the connection, or it broke, with ${code}${said}`
      : `no connection: it failed with ${code}${said}`;
    this.#end(code, reason, wasOpen ? codeOf(code) : 'ERR_CONNECT', message);
  }

  #end(code: number, reason: string, errorCode: ErrorCode, message: string): void {
    this.leave();
    this.#host.ended({
      code,
      reason,
      errorCode,
      message,
      cause: this.#failure,
      wasOpen: this.#phase !== 'connecting',
      wasAdmitted: this.#isAdmitted,
      heardUntil: this.#heartbeat.heardUntil,
      isUnproven: this.#sent > this.#proven,
      lastedMs: performance.now() - this.#startedAt,
    });
  }
}

/** Closes a socket as far as it can be: one of the caller's interface may have no `close`. */
function closeSocket(
  socket: WebSocketLike & { close?(code: number, reason: string): void },
  code: number,
  reason: string,
): void {
  socket.close?.(sendable(code), cutReason(reason));
}
