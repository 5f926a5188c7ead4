// The factory of gossip targets: reads the topic, the members to begin with, and the options, and gives the target when it has joined.
// Does not know how a member behaves (native-target.ts, engine/src/swarm.rs).

import type { Addresses, Endpoint } from './iroh.js';
import { irohSwarm } from './iroh-addon.js';
import { parseNodeId, parseTicket } from './iroh-address.js';
import { calling, nativeOf } from './iroh-native.js';
import { closeOnAbort } from './life-cycle.js';
import { checkLimits, type Limits, type QueueOptions } from './limits.js';
import { PortTarget } from './native-target.js';
import { opened } from './opened.js';
import { abortSignal, boolean, checkNames, positiveInteger, wrong } from './options.js';
import { type ReconnectOptions, readSpokeOptions } from './spoke-options.js';
import { isWellFormed } from './topic.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';

export type { Addresses } from './iroh.js';
export type { Limits, QueueOptions } from './limits.js';
export type { ReconnectOptions } from './spoke-options.js';

/** A member to begin with: a ticket, or its id alone, when the endpoint knows its addresses or finds them, or with them. */
export type GossipPeer = string | { readonly nodeId: string; readonly addresses: Addresses };

/** Which swarm a target joins, through which endpoint and by whom. */
export interface IrohGossipOptions extends QueueOptions {
  /** Yours: the target never closes it. Its key signs what is dispatched here. One target per endpoint and topic. */
  readonly endpoint: Endpoint;
  /** Who dispatches to the same topic is in the same swarm: a text, or an id of 32 bytes. Events of all types go through it. */
  readonly topic: string | Uint8Array;
  /** Members that are asked to let this one in. Empty: this is the first one, and open at once. */
  readonly bootstrap: readonly GossipPeer[];
  /** Gives up joining, and closes the target when it is aborted. */
  readonly signal?: AbortSignal;
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean;
  /** How it comes back when it is alone, and how often it calls members that fell silent. `initial: true`: also the first time. */
  readonly reconnect?: ReconnectOptions;
  /** Milliseconds after which an event that waits for a neighbour is dropped. Default 60 000. */
  readonly queueMaxAgeMs?: number;
  /** `maxMessageBytes` is 65 536 at most, and by default. */
  readonly limits?: Omit<Limits, 'maxMalformed'>;
}

const optionNames: readonly string[] = [
  'endpoint',
  'topic',
  'bootstrap',
  'signal',
  'echo',
  'reconnect',
  'queueMaxAgeMs',
  'limits',
  'maxBufferedAmount',
  'maxPendingBytes',
];
const limitNames: readonly string[] = ['maxMessageBytes', 'maxTopicBytes', 'handshakeMs', 'heartbeatMs'];

/** The engine's. */
const MAX_EVENT_BYTES = 65_536;
const TOPIC_ID_BYTES = 32;

/**
 * Makes a member of a swarm without a hub, and gives it when it has a neighbour, or at once with an empty `bootstrap`. What one member
 * dispatches reaches the listeners of all others, signed, once and in order; what is lost is a `gap`. Rejects when nobody of `bootstrap` can be
 * reached.
 *
 * ```js
 * const swarm = await createIrohGossipEventTarget({ endpoint, topic: 'chat', bootstrap: [nodeId] });
 * swarm.addEventListener('chat.msg:r1', (event) => console.log(event.detail.payload));
 * ```
 */
export async function createIrohGossipEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: IrohGossipOptions,
): Promise<NativeTarget<TEvent>> {
  checkNames(options, optionNames);
  const { endpoint, reconnect = {}, limits, ...common } = options;
  const native = nativeOf(endpoint);
  const topic = readTopic(options.topic);
  const signal = abortSignal('signal', options.signal);
  const echo = boolean('echo', options.echo);
  checkLimits(limits, limitNames);
  positiveInteger('maxMessageBytes', limits?.maxMessageBytes, MAX_EVENT_BYTES);
  if (typeof reconnect !== 'object' || reconnect === null) throw wrong('reconnect', 'an object', reconnect);
  const { maxBufferedAmount, maxPendingBytes, queueMaxAgeMs } = common;
  const settings = readSpokeOptions({
    reconnect: { initial: false, ...reconnect },
    ...(limits === undefined ? {} : { limits }),
    ...(maxBufferedAmount === undefined ? {} : { maxBufferedAmount }),
    ...(maxPendingBytes === undefined ? {} : { maxPendingBytes }),
    ...(queueMaxAgeMs === undefined ? {} : { queueMaxAgeMs }),
  });
  const bootstrap = readBootstrap(endpoint, options.bootstrap);
  signal?.throwIfAborted();
  const swarm = calling(() => irohSwarm({ url: '', headers: [], asks: false, ...settings }, native, topic, bootstrap));
  const target = new PortTarget(swarm, { echo });
  if (signal !== undefined) closeOnAbort(target, signal);
  await opened(target);
  return target as unknown as NativeTarget<TEvent>;
}

function readTopic(topic: unknown): string | Buffer {
  if (typeof topic === 'string' && topic !== '' && isWellFormed(topic)) return topic;
  if (topic instanceof Uint8Array && topic.length === TOPIC_ID_BYTES) return Buffer.from(topic);
  throw wrong('topic', 'a non-empty, well-formed string or a Uint8Array of 32 bytes', topic);
}

function readBootstrap(endpoint: Endpoint, bootstrap: unknown): string[] {
  if (!Array.isArray(bootstrap)) throw wrong('bootstrap', 'an array of ids, empty for the first member', bootstrap);
  return bootstrap.map((peer: GossipPeer) => {
    if (typeof peer === 'string') return readTicket(endpoint, peer);
    checkNames(peer, ['nodeId', 'addresses'], 'bootstrap');
    const id = parseNodeId(peer.nodeId);
    endpoint.addAddress(id, peer.addresses);
    return id;
  });
}

/** An id is a ticket without addresses. */
function readTicket(endpoint: Endpoint, ticket: string): string {
  const { nodeId, addresses } = parseTicket(ticket);
  if (addresses.length > 0) endpoint.addAddress(nodeId, addresses);
  return nodeId;
}
