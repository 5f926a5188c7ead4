// What a topic is and which topics are legal; makes the event that carries an envelope.
// Does not know who listens, and never splits a topic: type and id may hold colons.
// Invariant: an event made here has the name `type:id` of its own envelope.

import { PubSubError, typeError } from './errors.js';
import { TargetEvent } from './target-event.js';
import type { EventEnvelope, EventOf } from './types.js';

/** The names on a target that are not topics. Hubs have three more than spokes; all are kept free on both. */
const lifeCycleNames: ReadonlySet<string> = new Set([
  'open',
  'reconnecting',
  'gap',
  'error',
  'close',
  'connection',
  'disconnection',
  'backpressure',
]);

export function isLifeCycleName(name: string): boolean {
  return lifeCycleNames.has(name);
}

/** The topic of a type and an id: `type:id`. Throws `ERR_INVALID_TOPIC` and `ERR_RESERVED_TYPE`. */
export function topic<TType extends string>(type: TType, id: string): `${TType}:${string}` {
  checkType(type);
  checkId(id);
  const name = `${type}:${id}` as const;
  checkWellFormed(name);
  return name;
}

/** The event of an envelope, ready for `dispatchEvent` of any target. Throws `ERR_INVALID_TOPIC` and `ERR_RESERVED_TYPE`. */
export function createEvent<TType extends string, TPayload>(
  type: TType,
  id: string,
  payload: TPayload,
): EventOf<TType, TPayload> {
  const detail: EventEnvelope<TType, TPayload> = { type, id, payload };
  return new TargetEvent(topic(type, id), detail);
}

/** Throws unless `name` can be listened to: a life-cycle name or a topic. */
export function checkName(name: string): void {
  const colon = name.indexOf(':');
  if (colon > 0) return checkWellFormed(name);
  if (colon === 0) throw emptyType();
  if (!isLifeCycleName(name)) throw withoutColon(name);
}

/** Throws unless an event named `name` may carry `detail` over a transport. */
export function checkEvent(name: string, detail: unknown): asserts detail is EventEnvelope {
  if (!name.includes(':')) throw withoutColon(name);
  if (!isEnvelope(detail)) {
    throw new PubSubError(
      'ERR_TOPIC_MISMATCH',
      `event "${name}" needs a detail { type, id, payload } with type and id strings; use createEvent()`,
    );
  }
  checkType(detail.type);
  if (!isTopicOf(name, detail)) {
    throw new PubSubError(
      'ERR_TOPIC_MISMATCH',
      `event named "${name}" carries an envelope of topic "${detail.type}:${detail.id}"; use createEvent()`,
    );
  }
  checkWellFormed(name);
}

/** Whether `name` is `type:id`, found without making that string. */
function isTopicOf(name: string, { type, id }: EventEnvelope): boolean {
  const isLongEnough = name.length === type.length + 1 + id.length;
  return isLongEnough && name.charCodeAt(type.length) === COLON && name.startsWith(type) && name.endsWith(id);
}

/** Throws unless `type` may be published: a non-empty string that the protocol has not reserved. */
export function checkType(type: string): void {
  if (typeof type !== 'string') throw invalidTopic(`type must be a string, got ${describe(type)}`);
  if (type === '') throw emptyType();
  if (isReserved(type))
    throw new PubSubError(
      'ERR_RESERVED_TYPE',
      `types beginning with "__" belong to the protocol, got "${type}"; choose another`,
    );
}

export function checkId(id: string): void {
  if (typeof id !== 'string') throw invalidTopic(`id must be a string, got ${describe(id)}; write String(id)`);
}

/** Whether a type, or a topic by its type, belongs to the protocol. */
export function isReserved(type: string): boolean {
  return type.charCodeAt(0) === UNDERSCORE && type.charCodeAt(1) === UNDERSCORE;
}

export function isEnvelope(detail: unknown): detail is EventEnvelope {
  if (typeof detail !== 'object' || detail === null) return false;
  const { type, id } = detail as Partial<EventEnvelope>;
  return typeof type === 'string' && typeof id === 'string';
}

const UNDERSCORE = 0x5f;
const COLON = 0x3a;

/** Half a surrogate pair has no UTF-8 form: it would arrive as another topic. */
function checkWellFormed(name: string): void {
  if (!isWellFormed(name))
    throw invalidTopic(`topic ${JSON.stringify(name)} holds half a surrogate pair; expected well-formed Unicode`);
}

/** ES2024 has it as a method; browsers of 2022 do not. A `u` pattern sees a whole pair as one code point, so only halves match. */
export function isWellFormed(text: string): boolean {
  const native = (text as { isWellFormed?(): boolean }).isWellFormed;
  return typeof native === 'function' ? native.call(text) : !/\p{Surrogate}/u.test(text);
}

function withoutColon(name: string): TypeError {
  return invalidTopic(`expected "type:id", got "${name}"; for an empty id write "${name}:"`);
}

function emptyType(): TypeError {
  return invalidTopic('the type of a topic is empty; expected "type:id" with a type of at least one character');
}

function invalidTopic(message: string): TypeError {
  return typeError('ERR_INVALID_TOPIC', message);
}

function describe(value: unknown): string {
  return value === null ? 'null' : `${typeof value} ${String(value)}`;
}
