// The messages that plain TypeScript exchanges with a hub: one JSON text per envelope, control envelopes among them.
// Does not send or receive. The native targets have all of this in engine/src/wire.
// Invariant: what `readEnvelope` returns is an envelope and nothing more: string type and id, null for a missing payload.

import { isEnvelope } from './topic.js';
import type { EventEnvelope } from './types.js';

/** An envelope around a payload that is JSON already. */
export function envelopeText(type: string, id: string, payloadJson: string): string {
  return `{"type":${JSON.stringify(type)},"id":${JSON.stringify(id)},"payload":${payloadJson}}`;
}

export function controlText(type: string, payload: object): string {
  return envelopeText(type, '', JSON.stringify(payload));
}

/** The hello of a spoke: it answers `__ping`, and asks by it where it has no pings of a transport. */
export const HELLO: string = controlText('__hello', { version: 1, role: 'spoke', features: ['ping'] });

export function subscribeText(topic: string, n: number): string {
  return controlText('__subscribe', { topic, n });
}

export function unsubscribeText(topic: string): string {
  return controlText('__unsubscribe', { topic });
}

/** The envelope in a message, or nothing when the message is malformed. */
export function readEnvelope(message: unknown): EventEnvelope | undefined {
  try {
    const value: unknown = JSON.parse(toText(message));
    if (!isEnvelope(value)) return undefined;
    const { type, id, payload = null } = value;
    return { type, id, payload };
  } catch {
    return undefined;
  }
}

/** The code for a word of `__refused`. */
export function refusalCode(word: unknown): string {
  return word === 'FORBIDDEN' || word === 'LIMIT' || word === 'NOT_IDENTIFIED' ? `ERR_${word}` : 'ERR_REFUSED';
}

/** A binary message with the same JSON is accepted. */
function toText(message: unknown): string {
  if (typeof message === 'string') return message;
  if (message instanceof ArrayBuffer || ArrayBuffer.isView(message))
    return new TextDecoder('utf-8', { fatal: true }).decode(message);
  throw new TypeError('a message is neither text nor bytes');
}
