// Peers written on the official binding (@number0/iroh). They know frames and __subscribe and nothing of this package: no hello, no credit.
// Does not decide what is right. Where the binding is not installed, or has no build for the machine, `unavailable` says why. It is no
// development dependency: some of its packages for other platforms are named and not to be had, so no lock file can hold it.
import { Log, within } from '../websocket/facts.mjs';

/** @type {typeof import('@number0/iroh') | undefined} */
let iroh;
/** Why there is no official binding here, or `false`. */
export let unavailable = false;
try {
  iroh = await import('@number0/iroh');
} catch (error) {
  unavailable = `@number0/iroh cannot be loaded here (npm install --no-save @number0/iroh@1.1.0): ${error.message.split('\n')[0]}`;
}

export const ALPN = 'alkpubsub/1';
const bytesOf = (text) => [...Buffer.from(text)];

/** A frame: four bytes of length, then the text. */
export function frame(text) {
  const body = Buffer.from(text);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}

/** An endpoint of the official binding that nobody but this machine reaches. */
export async function officialEndpoint(t, { alpns = [] } = {}) {
  const builder = iroh.Endpoint.builder();
  builder.applyMinimal();
  builder.relayMode(iroh.RelayMode.disabled());
  builder.bindAddr('127.0.0.1:0');
  builder.alpns(alpns.map(bytesOf));
  const endpoint = await within(builder.bind(), 'the official endpoint is bound');
  // Not awaited: connections that are still there take seconds to drain.
  t.after(() => void endpoint.close());
  return endpoint;
}

/** One end of a link: what it wrote down are whole frames, as hex. */
export class OfficialPeer {
  frames = new Log();

  constructor(connection, { send, recv }) {
    this.connection = connection;
    this.#send = send;
    this.#recv = recv;
    this.read = this.#readAll();
  }

  #send;
  #recv;

  /** A spoke: dials one of our endpoints, and its first bytes open the stream. */
  static async dial(t, endpoint, first) {
    const own = await officialEndpoint(t);
    const id = iroh.EndpointId.fromString(endpoint.nodeId());
    const address = new iroh.EndpointAddr(id, null, [...endpoint.boundSockets()]);
    const connection = await within(own.connect(address, bytesOf(ALPN)), 'the official spoke is connected');
    const peer = new OfficialPeer(connection, await connection.openBi());
    await peer.write(first);
    return peer;
  }

  /** A hub: takes one connection of the endpoint, and its stream. */
  static async accept(endpoint) {
    const incoming = await endpoint.acceptNext();
    const connection = await (await incoming.accept()).connect();
    return new OfficialPeer(connection, await connection.acceptBi());
  }

  write(bytes) {
    return this.#send.writeAll([...bytes]);
  }

  /** Until the stream ends, which this binding tells by an error. */
  async #readAll() {
    for (;;) {
      try {
        const head = Buffer.from(await this.#recv.readExact(4));
        const body = Buffer.from(await this.#recv.readExact(head.readUInt32BE()));
        this.frames.push(Buffer.concat([head, body]).toString('hex'));
      } catch (error) {
        return error;
      }
    }
  }
}
