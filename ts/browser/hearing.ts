// What a hub says to a spoke over a WebSocket object, and what it means. The engine's is engine/src/spoke/session/hearing.rs.
// Does not know sockets.
// Invariant: whatever comes first decides whether the hub is native: a proper hello, or anything else.

import { PubSubError } from '../errors.js';
import type { EventEnvelope, GapDetail } from '../types.js';
import { controlText, isLonger, refusalCode } from '../wire.js';
import type { SessionHost, SessionOptions } from './link.js';

/** What a hub's words do to the link. */
interface Heard {
  greet(answersPings: boolean): boolean;
  takeForPlain(): boolean;
  prove(sent: unknown): void;
  proveAnswered(n: unknown): void;
  say(text: string): void;
  fail(code: number, reason: string, errorCode: string): void;
}

/** What comes back of a `__ping`. Source: docs/protocol.md. */
const MAX_PING_LENGTH = 32;

/** Malformed messages are counted over so many milliseconds. Source: contract section 1. */
const MINUTE_MS = 60_000;

type Fields = Partial<Record<string, unknown>>;

export class Hearing {
  readonly #link: Heard;
  readonly #host: SessionHost;
  readonly #maxMalformed: number;
  readonly #maxTopicBytes: number;
  #malformedSince = 0;
  #malformedTimes = 0;

  constructor(link: Heard, host: SessionHost, { maxMalformed, maxTopicBytes }: SessionOptions) {
    this.#link = link;
    this.#host = host;
    this.#maxMalformed = maxMalformed;
    this.#maxTopicBytes = maxTopicBytes;
  }

  /** One message: its envelope, or nothing when it was malformed. */
  hear(envelope: EventEnvelope | undefined, length: number): void {
    if (envelope?.type === '__hello' && this.#greet(Object(envelope.payload))) return;
    if (!this.#link.takeForPlain()) return;
    if (envelope === undefined) return this.#malformed();
    const { type, id, payload } = envelope;
    if (type.startsWith('__')) return this.#obey(type, Object(payload));
    const topic = `${type}:${id}`;
    if (isLonger(topic, this.#maxTopicBytes)) return this.#malformed();
    this.#host.counters.received++;
    this.#host.heard(topic, envelope, length);
  }

  /** False for a hello that is none, and for a second one: those are ignored like any control event that is unknown. */
  #greet({ version, features }: Fields): boolean {
    return typeof version === 'number' && this.#link.greet(Array.isArray(features) && features.includes('ping'));
  }

  #obey(type: string, fields: Fields): void {
    const { topic, n, t } = fields;
    switch (type) {
      case '__gap':
        return this.#missed(fields);
      case '__ping':
        return this.#answer(t);
      case '__pong':
        return this.#link.prove(t);
      case '__subscribed':
        this.#link.proveAnswered(n);
        this.#host.subscriptions.acknowledged(topic as string, n);
        return this.#host.settled(topic as string);
      case '__refused':
        return typeof topic === 'string' ? this.#refuse(topic, fields) : undefined;
      default:
        this.#host.counters.ignoredControls++;
    }
  }

  #answer(t: unknown): void {
    const isShort = typeof t === 'number' || (typeof t === 'string' && t.length <= MAX_PING_LENGTH);
    if (isShort) this.#link.say(controlText('__pong', { t }));
  }

  #refuse(topic: string, { n, kind, code, reason, count }: Fields): void {
    const isPublish = kind === 'publish';
    const what = isPublish ? 'publishing' : 'subscribing';
    const why = [code, reason].filter((part) => typeof part === 'string').join(': ');
    const message = `the hub refused ${what} to "${topic}": ${why}`;
    const times = isPublish && typeof count === 'number' ? count : 1;
    if (isPublish) this.#host.counters.refused += times;
    else {
      this.#link.proveAnswered(n);
      const error = new PubSubError(refusalCode(code), message);
      if (!this.#host.subscriptions.refused(topic, n, error)) return;
      this.#host.settled(topic);
    }
    this.#host.raise(refusalCode(code), message, times);
  }

  /** The hub has dropped events. */
  #missed({ from, to, topics }: Fields): void {
    if (typeof from !== 'number' || typeof to !== 'number' || !Array.isArray(topics)) return;
    const ours = topics.filter((topic) => this.#host.subscriptions.has(topic));
    const gap: GapDetail = { cause: 'upstream', direction: 'in', from, to, topics: ours };
    if (ours.length > 0) this.#host.missed(gap);
  }

  #malformed(): void {
    const now = performance.now();
    if (this.#malformedTimes === 0 || now - this.#malformedSince > MINUTE_MS) {
      this.#malformedSince = now;
      this.#malformedTimes = 0;
    }
    this.#host.counters.malformed++;
    this.#host.raise('ERR_MALFORMED', 'messages of the hub were no envelopes and were skipped');
    if (++this.#malformedTimes > this.#maxMalformed)
      this.#link.fail(1008, `more than ${this.#maxMalformed} malformed messages in a minute`, 'ERR_MALFORMED');
  }
}
