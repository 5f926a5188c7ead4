// The messages that plain TypeScript exchanges with a hub: one JSON text per envelope, control envelopes among them.
// Does not send or receive. The native targets have all of this in engine/src/wire.
// Invariant: what `readEnvelope` returns is an envelope and nothing more: string type and id, null for a missing payload, no key of it twice.

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
    const text = toText(message);
    return readCompact(text) ?? readAny(text);
  } catch {
    return undefined;
  }
}

/** What a string is in JSON, without one step of backtracking per character: ids and texts may be long. */
const STRING = '"[^"\\\\]*(?:\\\\[^][^"\\\\]*)*"';

const compactHead = new RegExp(`^\\{"type":(${STRING}),"id":(${STRING}),"payload":`);
const tokens = new RegExp(`${STRING}|[{}[\\]:]`, 'g');

/**
 * The form that hubs write. What stands behind the head is one JSON value or nothing that parses, so a second `payload` key is malformed
 * without a look for it.
 */
function readCompact(text: string): EventEnvelope | undefined {
  const head = compactHead.exec(text);
  if (head === null || !text.endsWith('}')) return undefined;
  const [{ length }, type, id] = head as unknown as [string, string, string];
  if (type === '""') return undefined;
  try {
    return { type: JSON.parse(type), id: JSON.parse(id), payload: JSON.parse(text.slice(length, -1)) };
  } catch {
    // Other keys or white space may follow.
    return undefined;
  }
}

/** Any JSON text with the keys of an envelope, each once: `JSON.parse` alone would take the last of two. */
function readAny(text: string): EventEnvelope | undefined {
  const value: unknown = JSON.parse(text);
  if (!isEnvelope(value) || value.type === '' || hasTwice(text)) return undefined;
  const { type, id, payload = null } = value;
  return { type, id, payload };
}

/** Whether `type`, `id` or `payload` is a key of the outermost object more than once. The text is JSON. */
function hasTwice(text: string): boolean {
  const seen = new Set<string>();
  let depth = 0;
  let last = '';
  for (const [token] of text.matchAll(tokens)) {
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (token === ':' && depth === 1) {
      const key: string = JSON.parse(last);
      if (seen.has(key)) return true;
      if (key === 'type' || key === 'id' || key === 'payload') seen.add(key);
    } else last = token;
  }
  return false;
}

/** Whether a text has more than `max` bytes of UTF-8; mostly known without making them. */
export function isLonger(text: string, max: number): boolean {
  return text.length > max || (text.length * 3 > max && new TextEncoder().encode(text).length > max);
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
