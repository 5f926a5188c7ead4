// Who may come in and what they may do: the option `authorize` of hubs, and what becomes of its answers.
// Does not match patterns and does not close connections: the engine does.
// Invariants: every question gets exactly one answer; whatever is not a clear yes is a no; what was said of a peer that did not come is forgotten.

import type { Connection } from './connection.js';
import { unpackHeaders } from './headers.js';
import { callback, checkNames, wrong } from './options.js';
import type { NativeGrants, NativeVerdict, PeerFacts } from './port.js';
import { isWellFormed } from './topic.js';

/** What is known of a peer before it is let in. */
export interface PeerInfo {
  readonly transport: string;
  /** `host:port` of the peer, where the transport has one. */
  readonly remoteAddress: string | undefined;
  /** Path and query of the request, where the transport has one. */
  readonly url: string | undefined;
  /** Headers of the request by lower-case name; values of a repeated header are joined by ", ". */
  readonly headers: Readonly<Record<string, string>>;
  /** Subprotocols that the peer offers. */
  readonly protocols: readonly string[];
  /** Who the transport has proven the peer to be: `tls:SHA256:…` with a client certificate; undefined where it proves nothing. */
  readonly identity: string | undefined;
}

/**
 * Topics that a connection may subscribe and publish to, as patterns for whole topics: `*` is any run of characters, `\*` a star, `{identity}`
 * the connection's identity. A list that is left out allows nothing.
 */
export interface Grants {
  readonly subscribe?: readonly string[];
  readonly publish?: readonly string[];
}

/** Somebody who is let in. */
export interface Admitted extends Grants {
  /** Who it is. It gets `app:` in front, unless it is what the transport has proven. Default: what the transport has proven. */
  readonly identity?: string;
  /** Yours: becomes `connection.data`. */
  readonly data?: unknown;
}

/** True: in, and may do everything. False: refused, and should not come again. Nothing: not known; may come again with other credentials. */
export type Admission = boolean | null | undefined | Admitted;

/** Asked about every peer, whatever transport it comes by. What throws or rejects lets nobody in. */
export interface Authorize {
  /** May it come in? Asked before a byte of it reaches the application; has `limits.handshakeMs` to answer. */
  readonly connect: (info: PeerInfo) => Admission | PromiseLike<Admission>;
  /** May it subscribe to a topic that its patterns do not allow? */
  readonly subscribe?: (topic: string, connection: Connection) => boolean | PromiseLike<boolean>;
}

export function checkAuthorize(authorize: Authorize | undefined): void {
  if (authorize === undefined) return;
  checkNames(authorize, ['connect', 'subscribe'], 'authorize');
  if (typeof authorize.connect !== 'function') throw wrong('authorize.connect', 'a function', authorize.connect);
  callback('authorize.subscribe', authorize.subscribe);
}

/** Throws unless these are grants; returns them as the engine takes them. */
export function readGrants(grants: Grants): NativeGrants {
  checkNames(grants, ['subscribe', 'publish'], 'grants');
  return { subscribe: patterns('subscribe', grants.subscribe), publish: patterns('publish', grants.publish) };
}

function patterns(name: string, list: readonly string[] | undefined = []): readonly string[] {
  const isList = Array.isArray(list) && list.every((pattern) => typeof pattern === 'string');
  if (!isList) throw wrong(name, 'an array of patterns', list);
  return list;
}

/** What a peer was let in with, for its connection to be. */
export interface Guest {
  readonly identity: string | undefined;
  readonly data: unknown;
}

/** Asks the application about peers and remembers what it said until they come. */
export class Doorman {
  readonly #authorize: Authorize;
  /** By token: nothing while the application thinks. */
  readonly #guests = new Map<number, Guest | undefined>();

  constructor(authorize: Authorize) {
    this.#authorize = authorize;
  }

  /** The answer for the engine, or nothing when nobody waits for it any more. */
  async judge(token: number, facts: PeerFacts): Promise<NativeVerdict | undefined> {
    this.#guests.set(token, undefined);
    try {
      const answer = await this.#authorize.connect(toInfo(facts));
      return this.#guests.has(token) ? this.#read(token, facts, answer) : undefined;
    } catch (error) {
      this.#guests.delete(token);
      throw error;
    }
  }

  async allows(topic: string, connection: Connection): Promise<boolean> {
    return (await this.#authorize.subscribe?.(topic, connection)) === true;
  }

  /** The peer has gone, or was waited for too long. */
  withdraw(token: number): void {
    this.#guests.delete(token);
  }

  /** The peer is there. */
  take(ticket: number): Guest | undefined {
    const guest = this.#guests.get(ticket);
    this.#guests.delete(ticket);
    return guest;
  }

  #read(token: number, facts: PeerFacts, answer: Admission): NativeVerdict {
    if (answer === true) return this.#admit(token, { identity: facts.identity ?? undefined, data: undefined }, {});
    if (answer !== null && typeof answer === 'object') {
      const { identity, data, ...lists } = answer;
      const grants = readGrants(lists);
      return this.#admit(token, { identity: identityOf(identity, facts.identity ?? undefined), data }, grants);
    }
    if (answer !== false && answer !== undefined && answer !== null)
      throw wrong('the answer of authorize.connect', 'a boolean, nothing or an object', answer);
    this.#guests.delete(token);
    return { refusal: answer === false ? 'forbidden' : 'notIdentified' };
  }

  #admit(token: number, guest: Guest, lists: NativeGrants): NativeVerdict {
    this.#guests.set(token, guest);
    return { grants: guest.identity === undefined ? lists : { ...lists, identity: guest.identity } };
  }
}

/**
 * An application speaks for `app:` alone: a name that it takes from a request must not pass for a proven one. Two names are two identities:
 * one that begins with `app:` itself gets another in front, and lone surrogates, which all become one character on their way, are refused.
 */
function identityOf(given: string | undefined, proven: string | undefined): string | undefined {
  if (given === undefined || given === proven) return proven;
  if (typeof given !== 'string' || given === '' || !isWellFormed(given))
    throw wrong('identity', 'a non-empty string of well-formed UTF-16', given);
  return `app:${given}`;
}

function toInfo(facts: PeerFacts): PeerInfo {
  const { transport, remoteAddress, url, headers, protocols, identity } = facts;
  return {
    transport,
    remoteAddress: remoteAddress ?? undefined,
    url: url ?? undefined,
    headers: unpackHeaders(headers),
    protocols,
    identity: identity ?? undefined,
  };
}
