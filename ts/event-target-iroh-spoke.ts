// The factory of the Iroh spoke: reads whom it dials or waits for, and gives the spoke when the hub has let it in.
// Does not know how a spoke behaves (native-target.ts, engine/src/spoke/).

import type { Endpoint } from './iroh.js';
import { irohSpoke, irohWaitingSpoke } from './iroh-addon.js';
import { parseTicket } from './iroh-address.js';
import { calling, nativeOf } from './iroh-native.js';
import { makeSpoke } from './native-spoke.js';
import { opened } from './opened.js';
import { checkNames, invalidOption, string } from './options.js';
import type { NativeSpokeOptions, NativeSpokePort } from './port.js';
import { type SpokeOptions, spokeOptionNames } from './spoke-options.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';

export type { Limits, QueueOptions } from './limits.js';
export type { ReconnectOptions, SpokeOptions } from './spoke-options.js';

interface CommonOptions extends SpokeOptions {
  /** Yours: the spoke never closes it. */
  readonly endpoint: Endpoint;
  /** The hub's protocol. Default "alkpubsub/1". */
  readonly alpn?: string;
}

/** A spoke that dials its hub. */
export interface IrohDialOptions extends CommonOptions {
  /** The id of the hub's endpoint (hex, base32, z-base-32 or base58), or a ticket of it. */
  readonly hubNodeId: string;
  readonly accept?: undefined;
}

/** A spoke that waits until its hub dials it (`hub.dial`). */
export interface IrohAcceptOptions extends CommonOptions {
  /** The id of the hub's endpoint; others are closed with 4403. `"any"`: whoever dials is the hub. */
  readonly accept: string;
  readonly hubNodeId?: undefined;
}

/** A spoke either dials its hub or waits for it. */
export type IrohSpokeOptions = IrohDialOptions | IrohAcceptOptions;

/**
 * Makes a spoke of the hub at an endpoint, and gives it when the hub has let it in: a refusal rejects with its code. Afterwards the spoke comes
 * back whenever the link is lost. With `reconnect: { initial: true }` the first attempt is repeated like the others. With `accept` it waits until
 * the hub dials, as long as that takes, and again whenever the link is lost.
 *
 * ```js
 * const spoke = await createIrohSpokeEventTarget({ endpoint, hubNodeId });
 * spoke.addEventListener('chat.msg:r1', (event) => console.log(event.detail.payload));
 * ```
 */
export async function createIrohSpokeEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: IrohSpokeOptions,
): Promise<NativeTarget<TEvent>> {
  checkNames(options, [...spokeOptionNames, 'endpoint', 'hubNodeId', 'accept', 'alpn']);
  const { endpoint, hubNodeId, accept, alpn: givenAlpn, reconnect = true, ...common } = options;
  if ((hubNodeId === undefined) === (accept === undefined))
    throw invalidOption('give hubNodeId, to dial a hub, or accept, to wait for one');
  const native = nativeOf(endpoint);
  const named = hubNodeId ?? (accept as string);
  const hub = accept === 'any' ? undefined : parseTicket(named).nodeId;
  const alpn = string('alpn', givenAlpn);
  const isCalled = accept !== undefined;
  const initial = { initial: isCalled };
  const policy = reconnect === true ? initial : reconnect === false ? false : { ...initial, ...reconnect };
  const make = (settings: NativeSpokeOptions): NativeSpokePort =>
    isCalled ? irohWaitingSpoke(settings, native, hub, alpn) : irohSpoke(settings, native, named, alpn);
  const url = `iroh:${hub ?? 'any'}`;
  const spoke = makeSpoke<TEvent>({ ...common, reconnect: policy }, { url, headers: [] }, (settings) =>
    calling(() => make(settings)),
  );
  await opened(spoke);
  return spoke;
}
