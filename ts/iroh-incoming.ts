// The option `incoming` of endpoints: asks the application about everybody who comes in. Does not close connections: the engine does.
// Invariants: every question gets exactly one answer; whatever is not a clear yes is a no; what the application throws is told.

import { wrong } from './options.js';
import type { NativeEndpoint, NativeIncoming, NativeIncomingAnswer } from './port.js';
import { warnSeldom } from './warn.js';

/** Who has come in. The handshake is over: the id is proven, and the address receives what is sent to it. */
export interface IncomingInfo {
  /** 64 lower-case hex digits. */
  readonly nodeId: string;
  /** The protocol that it wants, as it offers it: that of a hub with `+hello` behind it for native peers. */
  readonly alpn: string;
  /** Where its first packet came from, `host:port`; `undefined` when that came through a relay. */
  readonly remoteAddress: string | undefined;
  /** The URL of the relay that its first packet came through. */
  readonly relay: string | undefined;
}

/** True: may come in. False: closed with 4403. What throws or rejects lets nobody in. */
export type IncomingFilter = (info: IncomingInfo) => boolean | PromiseLike<boolean>;

/** What the addon calls when somebody has come in. */
export function screen(native: NativeEndpoint, filter: IncomingFilter): void {
  for (const incoming of native.takeIncoming()) void judge(native, filter, incoming);
}

async function judge(native: NativeEndpoint, filter: IncomingFilter, incoming: NativeIncoming): Promise<void> {
  let answer: NativeIncomingAnswer = 'failed';
  try {
    const isWelcome: unknown = await filter(toInfo(incoming));
    if (typeof isWelcome !== 'boolean') throw wrong('the answer of incoming', 'a boolean', isWelcome);
    answer = isWelcome ? 'admitted' : 'refused';
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    warnSeldom(`incoming failed, nobody was let in: ${why} (handle errors inside of it)`, 'ERR_HANDLER_FAILED');
  } finally {
    native.answerIncoming(incoming.token, answer);
  }
}

function toInfo({ id, alpn, kind, address }: NativeIncoming): IncomingInfo {
  return {
    nodeId: id,
    alpn,
    remoteAddress: kind === 'direct' ? address : undefined,
    relay: kind === 'relay' ? address : undefined,
  };
}
