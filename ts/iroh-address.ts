// Where endpoints are reached: ids, addresses and tickets as people write them. Does not look anything up, and remembers nothing.
// Invariant: whatever is no id and no ticket is ERR_INVALID_ID, here and not later.

import { endpointAddress, endpointId, endpointTicket } from './iroh-addon.js';
import { calling } from './iroh-native.js';
import { strings, wrong } from './options.js';

/**
 * Where an endpoint is reached: socket addresses (`"192.0.2.1:4433"`), URLs of relays, and tickets of it, in any order.
 */
export type Addresses = string | readonly string[];

/** What a ticket says: who, and where. */
export interface EndpointAddress {
  readonly nodeId: string;
  /** Socket addresses, then URLs of relays. */
  readonly addresses: readonly string[];
}

/** An id in the form in which ids are printed and compared: 64 lower-case hex digits. Reads hex, base32, z-base-32 and base58. */
export function parseNodeId(text: string): string {
  return calling(() => endpointId(readText('id', text)));
}

/** What a ticket says. An id says who alone. */
export function parseTicket(text: string): EndpointAddress {
  const { id, sockets, relays } = calling(() => endpointAddress(readText('ticket', text)));
  return { nodeId: id, addresses: [...sockets, ...relays] };
}

/** A ticket: an id and its addresses as one text, which other programs over Iroh read as well. */
export function formatTicket({ nodeId, addresses }: EndpointAddress): string {
  const { sockets, relays } = sortAddresses(parseNodeId(nodeId), addresses);
  return calling(() => endpointTicket(nodeId, sockets, relays));
}

/** Tells socket addresses from relays; those of tickets are among them. */
export function sortAddresses(nodeId: string, addresses: Addresses): { sockets: string[]; relays: string[] } {
  const list = strings('addresses', typeof addresses === 'string' ? [addresses] : addresses) ?? [];
  const sorted: { sockets: string[]; relays: string[] } = { sockets: [], relays: [] };
  for (const address of list) {
    if (address.includes('://')) sorted.relays.push(address);
    else if (address.startsWith('endpoint')) addTicket(sorted, nodeId, address);
    else sorted.sockets.push(address);
  }
  return sorted;
}

function addTicket(sorted: { sockets: string[]; relays: string[] }, nodeId: string, ticket: string): void {
  const { id, sockets, relays } = calling(() => endpointAddress(ticket));
  if (id !== nodeId) throw wrong('addresses', `addresses and tickets of ${nodeId}`, ticket);
  sorted.sockets.push(...sockets);
  sorted.relays.push(...relays);
}

function readText(name: string, text: unknown): string {
  if (typeof text !== 'string') throw wrong(name, 'a string', text);
  return text;
}
