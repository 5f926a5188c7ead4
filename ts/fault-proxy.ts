// A TCP proxy for tests: passes bytes on, and cuts, resets, stalls, delays, throttles, half-closes or refuses when it is told to.
// Does not look into what it carries, so it serves any protocol over TCP, TLS included. Bytes wait in fault-flow.ts.
// Invariants: whatever the ends do, no error leaves this file but by ready(); a connection is counted until both its sockets are closed.

import { connect, createServer, type Server, type Socket } from 'node:net';
import { diceFrom } from './dice.js';
import { PubSubError, typeError } from './errors.js';
import { Flow, type FlowCounters, type FlowRules } from './fault-flow.js';
import { boolean, checkNames, nonNegativeInteger, oneOf, string, wrong } from './options.js';

/** Which way bytes go: `up` from whoever connects to `to`, `down` from there back. */
export type FaultDirection = 'up' | 'down' | 'both';

/** Between whom a fault proxy stands. */
export interface FaultProxyOptions {
  /** Where connections are passed on to; `hub.address` fits. Host: default "127.0.0.1". */
  readonly to: { readonly host?: string; readonly port: number; readonly url?: string };
  /** Where the proxy listens. Default "127.0.0.1". */
  readonly host?: string;
  /** 0 asks the system for a free port. Default 0. */
  readonly port?: number;
  /** Seed of the jitter, from 0 to 2^32 - 1; the same one rolls the same numbers. Default: a random one. */
  readonly seed?: number;
}

/** How a delay varies, and in which direction it holds. */
export interface FaultDelayOptions {
  /** Up to so many milliseconds more, chosen anew for each piece that is read. Default 0. */
  readonly jitterMs?: number;
  /** Default "both". */
  readonly direction?: FaultDirection;
}

/** Counters of a proxy; all but `connections`, `heldUp` and `heldDown` only rise. */
export interface FaultProxyStats {
  readonly connections: number;
  readonly accepted: number;
  /** Reset at once because of `refuse`. */
  readonly refused: number;
  /** Reset because nobody answered at `to`. */
  readonly unreachable: number;
  readonly cut: number;
  readonly reset: number;
  readonly halfClosed: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Bytes that were read and not yet written. */
  readonly heldUp: number;
  readonly heldDown: number;
  /** Bytes that came in a direction that was half-closed. */
  readonly discarded: number;
}

/** A proxy between spokes and a hub. Whatever acts on connections returns on how many. */
export interface FaultProxy extends AsyncDisposable {
  /** The URL of `to`, with host and port of the proxy; without one `ws://host:port/`. Throws before `ready()`. */
  readonly url: string;
  readonly host: string;
  /** Throws before `ready()`. */
  readonly port: number;
  readonly seed: number;
  /** Connections that are there now. */
  readonly connections: number;
  /** Resolves when the proxy listens; rejects with `ERR_LISTEN`. */
  ready(): Promise<void>;
  /** Closes both sockets of every connection, as the system does for a process that dies. What waits is lost. */
  cut(): number;
  /** Ends every connection with RST, both ways. */
  reset(): number;
  /** Neither reads nor writes until `resume`; connections that come meanwhile are accepted and stand still as well. */
  stall(direction?: FaultDirection): number;
  resume(direction?: FaultDirection): number;
  /** What is read from now on is passed on so many milliseconds later, in order; 0 ends that. */
  delay(ms: number, options?: FaultDelayOptions): number;
  /** Passes on so many bytes a second at most, per connection and direction; Infinity ends that. */
  throttle(bytesPerSecond: number, direction?: FaultDirection): number;
  /** Ends one direction of every connection behind what waits (FIN); the other one goes on. */
  halfClose(direction: 'up' | 'down'): number;
  /** From now on new connections are reset at once, or no longer. Those that are there stay. */
  refuse(isRefusing?: boolean): void;
  stats(): FaultProxyStats;
  /** Stops listening and cuts every connection. Never rejects; the same promise each time. */
  close(): Promise<void>;
  /** The proxy keeps the process alive again. */
  ref(): this;
  /** The proxy and its connections no longer keep the process alive. */
  unref(): this;
}

/**
 * Makes a proxy in front of a hub, or of any server. It binds in the background.
 *
 * ```js
 * const proxy = createFaultProxy({ to: hub.address });
 * await proxy.ready();
 * const spoke = createWebSocketClientEventTarget(proxy.url);
 * await spoke.ready();
 * proxy.cut(); // the spoke comes back, and tells of a gap
 * ```
 */
export function createFaultProxy(options: FaultProxyOptions): FaultProxy {
  checkNames(options, ['to', 'host', 'port', 'seed']);
  checkNames(options.to, ['host', 'port', 'url'], 'to');
  return new TcpFaultProxy({
    host: string('host', options.host) ?? '127.0.0.1',
    port: portNumber('port', options.port ?? 0, 0),
    toHost: string('to.host', options.to.host) ?? '127.0.0.1',
    toPort: portNumber('to.port', options.to.port, 1),
    toUrl: readUrl(options.to.url),
    seed: nonNegativeInteger('seed', options.seed, MAX_SEED) ?? Math.floor(Math.random() * MAX_SEED),
  });
}

const MAX_SEED = 2 ** 32 - 1;
/** What fits a timer. */
const MAX_DELAY_MS = 2 ** 31 - 1;

function portNumber(name: string, value: number, least: number): number {
  if (!Number.isInteger(value) || value < least || value > 65_535)
    throw wrong(name, `an integer from ${least} to 65535`, value);
  return value;
}

function readUrl(text: string | undefined): string {
  if (text !== undefined && !URL.canParse(text)) throw wrong('to.url', 'a URL', text);
  return text ?? 'ws://127.0.0.1/';
}

interface Settings {
  readonly host: string;
  readonly port: number;
  readonly toHost: string;
  readonly toPort: number;
  readonly toUrl: string;
  readonly seed: number;
}

/** Both sockets of a connection and both its directions. */
interface Pair {
  readonly sockets: readonly [Socket, Socket];
  readonly up: Flow;
  readonly down: Flow;
}

class TcpFaultProxy implements FaultProxy {
  readonly #settings: Settings;
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #rules = { up: freshRules(), down: freshRules() };
  readonly #flows: Record<'up' | 'down', FlowCounters> = {
    up: { passed: 0, discarded: 0 },
    down: { passed: 0, discarded: 0 },
  };
  readonly #counters = { accepted: 0, refused: 0, unreachable: 0, cut: 0, reset: 0, halfClosed: 0 };
  readonly #roll: () => number;
  readonly #bound: Promise<void>;
  #closing: Promise<void> | undefined;
  #port: number | undefined;
  #isRefusing = false;
  #isReffed = true;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#roll = diceFrom(settings.seed);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    this.#bound = this.#bind();
    this.#bound.catch(ignore);
  }

  get url(): string {
    const url = new URL(this.#settings.toUrl);
    url.host = `${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`;
    return url.href;
  }

  get host(): string {
    return this.#settings.host;
  }

  get port(): number {
    if (this.#port === undefined)
      throw typeError('ERR_LISTEN', 'the proxy has no port yet; await its ready() before asking for port or url');
    return this.#port;
  }

  get seed(): number {
    return this.#settings.seed;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  get #closed(): Promise<never> {
    const rejection = Promise.reject(new PubSubError('ERR_CLOSED', 'the proxy was closed; make a new one'));
    rejection.catch(ignore);
    return rejection;
  }

  ready(): Promise<void> {
    return this.#closing === undefined ? this.#bound : this.#closed;
  }

  cut(): number {
    return this.#end('cut', cut);
  }

  reset(): number {
    return this.#end('reset', reset);
  }

  stall(direction: FaultDirection = 'both'): number {
    return this.#change(direction, (rules) => {
      rules.isStalled = true;
    });
  }

  resume(direction: FaultDirection = 'both'): number {
    return this.#change(direction, (rules) => {
      rules.isStalled = false;
    });
  }

  delay(ms: number, options: FaultDelayOptions = {}): number {
    checkNames(options, ['jitterMs', 'direction']);
    const delayMs = nonNegativeInteger('ms', ms, MAX_DELAY_MS) ?? 0;
    const jitterMs = nonNegativeInteger('jitterMs', options.jitterMs, MAX_DELAY_MS - delayMs) ?? 0;
    return this.#change(options.direction ?? 'both', (rules) => Object.assign(rules, { delayMs, jitterMs }));
  }

  throttle(bytesPerSecond: number, direction: FaultDirection = 'both'): number {
    if (typeof bytesPerSecond !== 'number' || !(bytesPerSecond > 0))
      throw wrong('bytesPerSecond', 'a positive number', bytesPerSecond);
    return this.#change(direction, (rules) => Object.assign(rules, { bytesPerSecond }));
  }

  halfClose(direction: 'up' | 'down'): number {
    oneOf('direction', direction ?? null, ['up', 'down']);
    for (const pair of this.#pairs) pair[direction].halfClose();
    this.#counters.halfClosed += this.#pairs.size;
    return this.#pairs.size;
  }

  refuse(isRefusing = true): void {
    this.#isRefusing = boolean('isRefusing', isRefusing) === true;
  }

  stats(): FaultProxyStats {
    const { up, down } = this.#flows;
    const held = (direction: 'up' | 'down'): number =>
      [...this.#pairs].reduce((sum, pair) => sum + pair[direction].held, 0);
    return {
      connections: this.#pairs.size,
      ...this.#counters,
      bytesUp: up.passed,
      bytesDown: down.passed,
      heldUp: held('up'),
      heldDown: held('down'),
      discarded: up.discarded + down.discarded,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  ref(): this {
    return this.#hold(true);
  }

  unref(): this {
    return this.#hold(false);
  }

  #bind(): Promise<void> {
    const { host, port } = this.#settings;
    return new Promise((resolve, reject) => {
      this.#server.on('error', (cause) => {
        const message = `the proxy cannot listen on ${host}:${port}: ${cause.message}; port 0 asks for a free one`;
        reject(new PubSubError('ERR_LISTEN', message, { cause }));
      });
      this.#server.listen({ host, port }, () => {
        const address = this.#server.address();
        this.#port = typeof address === 'object' && address !== null ? address.port : port;
        resolve();
      });
    });
  }

  async #close(): Promise<void> {
    this.cut();
    // A server that is closed before it listens would listen afterwards.
    await this.#bound.catch(ignore);
    await new Promise<void>((resolve) => {
      // An error only says that it could not listen.
      this.#server.close(() => resolve());
      this.cut();
    });
  }

  #accept(client: Socket): void {
    client.on('error', ignore);
    if (this.#isRefusing) {
      this.#counters.refused++;
      reset(client);
      return;
    }
    this.#counters.accepted++;
    const { toHost, toPort } = this.#settings;
    this.#join(client, connect({ host: toHost, port: toPort, allowHalfOpen: true, noDelay: true }));
  }

  /** Whatever ends one socket with an error ends the other with RST; an orderly end passes through the flow. */
  #join(client: Socket, server: Socket): void {
    const flow = (source: Socket, sink: Socket, direction: 'up' | 'down'): Flow =>
      new Flow(source, sink, this.#rules[direction], this.#flows[direction], this.#roll);
    const pair: Pair = {
      sockets: [client, server],
      up: flow(client, server, 'up'),
      down: flow(server, client, 'down'),
    };
    this.#pairs.add(pair);
    let isReached = false;
    server.on('connect', () => {
      isReached = true;
    });
    server.on('error', () => {
      if (!isReached && !client.destroyed) this.#counters.unreachable++;
      end(pair, reset);
    });
    client.on('error', () => end(pair, reset));
    for (const socket of pair.sockets) {
      if (!this.#isReffed) socket.unref();
      socket.on('close', () => this.#part(pair));
    }
  }

  #part(pair: Pair): void {
    if (pair.sockets.every((socket) => socket.closed)) this.#pairs.delete(pair);
  }

  #end(counter: 'cut' | 'reset', how: (socket: Socket) => void): number {
    const ended = [...this.#pairs].filter(({ sockets }) => sockets.some((socket) => !socket.destroyed));
    for (const pair of ended) end(pair, how);
    this.#counters[counter] += ended.length;
    return ended.length;
  }

  #change(direction: FaultDirection, change: (rules: FlowRules) => void): number {
    oneOf('direction', direction ?? null, ['up', 'down', 'both']);
    const directions: readonly ('up' | 'down')[] = direction === 'both' ? ['up', 'down'] : [direction];
    for (const each of directions) {
      change(this.#rules[each]);
      for (const pair of this.#pairs) pair[each].proceed();
    }
    return this.#pairs.size;
  }

  #hold(isReffed: boolean): this {
    this.#isReffed = isReffed;
    const hold = (handle: Server | Socket): unknown => (isReffed ? handle.ref() : handle.unref());
    hold(this.#server);
    for (const { sockets } of this.#pairs) sockets.forEach(hold);
    return this;
  }
}

function end({ sockets, up, down }: Pair, how: (socket: Socket) => void): void {
  up.drop();
  down.drop();
  for (const socket of sockets) how(socket);
}

function cut(socket: Socket): void {
  socket.destroy();
}

/** RST. A socket that is just sending its FIN cannot: Node 20 would leak it and hang at exit. */
function reset(socket: Socket): void {
  const isEnding = socket.writableEnded && !socket.writableFinished;
  if (socket.connecting) socket.once('connect', () => reset(socket));
  else if (socket.destroyed || isEnding) socket.destroy();
  else socket.resetAndDestroy();
}

function freshRules(): FlowRules {
  return { isStalled: false, delayMs: 0, jitterMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY };
}

function ignore(): void {}
