// The factory of the Iroh spoke: reads whom it dials, and gives the spoke when the hub has let it in.
// Does not know how a spoke behaves (native-target.ts, engine/src/spoke/).

import type { Endpoint } from './iroh.js';
import { parseNodeId } from './iroh.js';
import { calling, nativeOf } from './iroh-native.js';
import { irohSpoke } from './native.js';
import { makeSpoke } from './native-spoke.js';
import { checkNames, string } from './options.js';
import { type SpokeOptions, spokeOptionNames } from './spoke-options.js';
import type { AnyEvent, NativeTarget, TypedEvent } from './types.js';

export type { Limits, QueueOptions } from './limits.js';
export type { ReconnectOptions, SpokeOptions } from './spoke-options.js';

export interface IrohSpokeOptions extends SpokeOptions {
  /** Yours: the spoke never closes it. */
  readonly endpoint: Endpoint;
  /** The id of the hub's endpoint: hex, base32, z-base-32 or base58. */
  readonly hubNodeId: string;
  /** The hub's protocol. Default "alkpubsub/1". */
  readonly alpn?: string;
}

/**
 * Makes a spoke of the hub at an endpoint, and gives it when the hub has let it in: a refusal rejects with its code. Afterwards the spoke comes
 * back whenever the link is lost. With `reconnect: { initial: true }` the first attempt is repeated like the others.
 *
 * ```js
 * const spoke = await createIrohSpokeEventTarget({ endpoint, hubNodeId });
 * spoke.addEventListener('chat.msg:r1', (event) => console.log(event.detail.payload));
 * ```
 */
export async function createIrohSpokeEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: IrohSpokeOptions,
): Promise<NativeTarget<TEvent>> {
  checkNames(options, [...spokeOptionNames, 'endpoint', 'hubNodeId', 'alpn']);
  const { endpoint, hubNodeId, alpn: givenAlpn, reconnect = true, ...common } = options;
  const native = nativeOf(endpoint);
  const hub = parseNodeId(hubNodeId);
  const alpn = string('alpn', givenAlpn);
  const policy =
    reconnect === true ? { initial: false } : reconnect === false ? false : { initial: false, ...reconnect };
  const spoke = makeSpoke<TEvent>({ ...common, reconnect: policy }, { url: `iroh:${hub}`, headers: [] }, (settings) =>
    calling(() => irohSpoke(settings, native, hub, alpn)),
  );
  await spoke.ready();
  return spoke;
}
