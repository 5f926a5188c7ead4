// Upgrade requests of other people's HTTP servers: which are ours, and how the connection gets to the engine.
// Does not answer them: the engine checks the request, asks who may come in and writes the answer, as for its own listener.
// Invariants: a request that is not ours is not touched; a socket has an `error` listener before anything else happens to it; between
// reading what came and giving the socket away no turn of the event loop passes.

import { Buffer } from 'node:buffer';
import { boolean, checkNames, given, string, wrong } from './options.js';
import type { NativeDoor, NativeVisitor } from './port.js';
import type { CarriedSocket, Pump } from './pump.js';

/** What is needed of a request: of `http.IncomingMessage`. */
export interface UpgradeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly httpVersion: string;
  readonly rawHeaders: readonly string[];
}

/** What is needed of the socket of a request: of `net.Socket` or `tls.TLSSocket`. */
export interface UpgradeSocket {
  readonly destroyed: boolean;
  on(event: 'error', listener: (error: Error) => void): unknown;
  destroy(): unknown;
}

/** What is needed of a server: of `http.Server`, `https.Server`. */
export interface UpgradeServer {
  prependListener(event: 'upgrade', listener: UpgradeListener): unknown;
  removeListener(event: 'upgrade', listener: UpgradeListener): unknown;
}

/** A listener of `upgrade`, as `http.Server` calls it. */
export type UpgradeListener = (request: UpgradeRequest, socket: UpgradeSocket, head: Uint8Array) => void;

/** How an upgrade is taken. */
export interface UpgradeOptions {
  /**
   * Take the socket's descriptor over where the platform allows, so that the connection runs at native speed; false carries its bytes
   * through JavaScript, as happens anyway with TLS, in Bun and on Windows. Default true.
   */
  readonly adopt?: boolean;
}

/** Which upgrades of a server are taken, and how. */
export interface AttachOptions extends UpgradeOptions {
  /** Path of the only URL that is ours; the server's other upgrades are not touched. Default: all of them are ours. */
  readonly path?: string;
}

/** A hub's place at a server. */
export interface Attachment extends Disposable {
  /** Takes no further upgrades of this server; connections stay. Twice is once. */
  detach(): void;
}

/** The parts of a socket that no declaration has, and those that only some sockets have. */
interface Innards extends CarriedSocket {
  readonly encrypted?: boolean;
  readonly authorized?: boolean;
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  readonly localAddress?: string;
  readonly server?: { address?(): unknown } | null;
  readonly _handle?: { readonly fd?: number; fdForIpc?(): number } | null;
  getPeerCertificate?(): { readonly fingerprint256?: string } | null;
}

/** Sockets that a hub has taken: of two hubs with the same path the one attached last has it. */
const taken = new WeakSet<object>();

export class Upgrades {
  readonly #door: NativeDoor;
  readonly #pump: Pump;
  readonly #attachments = new Set<Attachment>();
  #isOver = false;

  constructor(door: NativeDoor, pump: Pump) {
    this.#door = door;
    this.#pump = pump;
  }

  attach(server: UpgradeServer, options: AttachOptions): Attachment {
    checkNames(options, ['path', 'adopt']);
    checkServer(server);
    const path = string('path', options.path);
    if (path !== undefined && !path.startsWith('/')) throw wrong('path', 'a path that begins with "/"', path);
    const adopt = boolean('adopt', options.adopt) ?? true;
    const listener: UpgradeListener = (request, socket, head) => {
      if (path !== undefined && pathOf(request) !== path) return;
      if (taken.has(socket)) return;
      this.take(request, socket, head, { adopt });
      shield(socket);
    };
    // In front: other libraries end what they do not know, and find it taken.
    if (!this.#isOver) server.prependListener('upgrade', listener);
    const detach = (): void => {
      server.removeListener('upgrade', listener);
      this.#attachments.delete(attachment);
    };
    const attachment: Attachment = { detach, [Symbol.dispose]: detach };
    if (!this.#isOver) this.#attachments.add(attachment);
    return attachment;
  }

  take(request: UpgradeRequest, socket: UpgradeSocket, head: Uint8Array, options: UpgradeOptions): void {
    // First of all: a reset that nobody hears is an uncaught exception.
    socket.on('error', ignore);
    taken.add(socket);
    if (socket.destroyed) return;
    if (this.#isOver) return refuse(socket as Innards);
    const inner = socket as Innards;
    const descriptor = options.adopt === false ? undefined : descriptorOf(inner);
    const bytes = requestBytes(request, head, inner.read());
    if (descriptor !== undefined && this.#door.adopt(descriptor.fd, descriptor.isOurs, bytes))
      return void socket.destroy();
    this.#pump.add(inner, visitorOf(inner), bytes);
  }

  /** Takes nothing any more. */
  end(): void {
    this.#isOver = true;
    for (const attachment of [...this.#attachments]) attachment.detach();
  }
}

export function checkUpgradeOptions(options: UpgradeOptions): UpgradeOptions {
  checkNames(options, ['adopt']);
  return given({ adopt: boolean('adopt', options.adopt) });
}

function checkServer(server: UpgradeServer): void {
  if (typeof server?.prependListener !== 'function' || typeof server.removeListener !== 'function')
    throw wrong(
      'server',
      'an http.Server or https.Server (Express: what app.listen() returns; Fastify: app.server)',
      server,
    );
}

function pathOf({ url = '' }: UpgradeRequest): string {
  const end = url.indexOf('?');
  return end < 0 ? url : url.slice(0, end);
}

/** The descriptor of a plain socket with nothing left to write, where the runtime has one; TLS has one too, but of what lies under it. */
function descriptorOf(socket: Innards): { readonly fd: number; readonly isOurs: boolean } | undefined {
  const { _handle: handle } = socket;
  if (socket.encrypted === true || socket.writableLength !== 0 || handle === null || handle === undefined) return;
  // Deno makes a new descriptor, which is ours.
  if ('Deno' in globalThis) {
    const fd = handle.fdForIpc?.();
    return isDescriptor(fd) ? { fd, isOurs: true } : undefined;
  }
  return isDescriptor(handle.fd) ? { fd: handle.fd, isOurs: false } : undefined;
}

function isDescriptor(fd: unknown): fd is number {
  return Number.isInteger(fd) && (fd as number) >= 0;
}

/** The request as it was on the wire, and what came behind it: the engine reads it as it reads its own. */
function requestBytes(
  { method, url, httpVersion, rawHeaders }: UpgradeRequest,
  head: Uint8Array,
  rest: unknown,
): Buffer {
  let text = `${method ?? 'GET'} ${url ?? '/'} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) text += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  const parts = [Buffer.from(`${text}\r\n`, 'latin1'), head];
  if (rest instanceof Uint8Array) parts.push(rest);
  return Buffer.concat(parts);
}

function visitorOf(socket: Innards): NativeVisitor {
  const { remoteAddress, remotePort, localAddress, server } = socket;
  return {
    ...given({
      remoteAddress: withoutZone(remoteAddress),
      remotePort,
      localAddress: withoutZone(localAddress),
      identity: identityOf(socket),
    }),
    isUnix: typeof server?.address?.() === 'string',
  } as NativeVisitor;
}

function withoutZone(address: string | undefined): string | undefined {
  return address?.replace(/%.*$/, '');
}

/** Who a client has proven to be to the server that ended its TLS; the same name as at a listener of ours. */
function identityOf(socket: Innards): string | undefined {
  if (socket.encrypted !== true || socket.authorized !== true) return;
  const fingerprint = socket.getPeerCertificate?.()?.fingerprint256;
  return fingerprint === undefined ? undefined : `tls:SHA256:${fingerprint.replaceAll(':', '').toLowerCase()}`;
}

/** Other listeners of the same event come now, and may end what they do not know: for this turn they cannot. */
function shield(socket: UpgradeSocket): void {
  const own = socket as unknown as Record<string, unknown>;
  for (const name of ['write', 'end', 'destroy']) own[name] = (): UpgradeSocket => socket;
  queueMicrotask(() => {
    for (const name of ['write', 'end', 'destroy']) delete own[name];
  });
}

const CLOSED = 'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';

function refuse(socket: Innards): void {
  socket.write(Buffer.from(CLOSED), ignore);
  if (socket.destroySoon === undefined) socket.end();
  else socket.destroySoon();
}

function ignore(): void {}
