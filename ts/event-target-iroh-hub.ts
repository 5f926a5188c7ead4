// The factory of the Iroh hub: a hub whose Iroh options stand beside the others, and that is bound when it is given.
// Does not know how a hub behaves (hub-target.ts, engine/src/hub.rs).

import { type HubOptions, hubOptionNames, makeHub } from './hub-options.js';
import type { IrohHubEventTarget } from './hub-target.js';
import './iroh-addon.js';
import { type IrohOptions, irohOptionNames, readIroh } from './iroh-options.js';
import { opened } from './opened.js';
import { checkNames, given } from './options.js';
import type { AnyEvent, TypedEvent } from './types.js';

export type { Admission, Admitted, Authorize, Grants, PeerInfo } from './authorize.js';
export type { Connection } from './connection.js';
export type { HubLimits, HubOptions } from './hub-options.js';
export type {
  DisconnectionDetail,
  HubCallbacks,
  HubEventTarget,
  HubLifeCycleEvents,
  IrohHubEventTarget,
} from './hub-target.js';
export type { IrohOptions } from './iroh-options.js';

/** A hub of Iroh connections alone. */
export interface IrohHubOptions<TEvent extends TypedEvent = AnyEvent> extends HubOptions<TEvent>, IrohOptions {}

/**
 * Makes a hub of Iroh connections at an endpoint of yours. Rejects when it cannot accept there.
 *
 * ```js
 * const endpoint = await Endpoint.createWithOptions({ keyFile: 'hub.key', bind: '127.0.0.1:4433' });
 * const hub = await createIrohHubEventTarget({ endpoint, relay: true });
 * ```
 */
export async function createIrohHubEventTarget<TEvent extends TypedEvent = AnyEvent>(
  options: IrohHubOptions<TEvent>,
): Promise<IrohHubEventTarget<TEvent>> {
  checkNames(options, [...hubOptionNames, ...irohOptionNames]);
  const { endpoint, alpn, anyone, ...common } = options;
  const addIroh = readIroh(given({ endpoint, alpn, anyone }) as IrohOptions);
  const hub = makeHub<TEvent>(common, addIroh);
  await opened(hub);
  return hub;
}
