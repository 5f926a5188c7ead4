// Where a command connects: reads `ws:`, `wss:`, `redis:`, `rediss:`, `unix:` and `iroh:`, and makes a target there. Loads a transport only when
// it is asked for, so that help and doctor work without the addon. Does not know the commands.
// Invariant: whatever this makes ends with close(), the endpoint of Iroh included.

import { readFileSync } from 'node:fs';
import { opened } from '../opened.js';
import type { NativeTarget } from '../types.js';
import type { OptionSpecs, Values } from './command.js';
import { usage } from './failure.js';

/** A target, and what has to be closed with it. */
export interface Link {
  readonly target: NativeTarget;
  /** Hubs answer subscriptions in the order of events, which proves that events before them have come. */
  readonly isHub: boolean;
  close(): Promise<void>;
}

/** A place that was understood. */
interface Where {
  readonly text: string;
  connect(options: ConnectOptions): Promise<Link>;
}

interface ConnectOptions {
  /** Repeat the first attempt as well. */
  readonly wait: boolean;
  readonly signal: AbortSignal;
}

/** The options of all commands that connect somewhere. */
export const whereOptions: OptionSpecs = {
  wait: { type: 'boolean', text: 'try until there is somebody to connect to, instead of once' },
  ca: { type: 'string', value: 'FILE', text: 'PEM: authorities that wss:, rediss: and relays are checked against' },
  prefix: { type: 'string', text: 'stands before every topic at a Redis' },
  key: {
    type: 'string',
    value: 'FILE',
    text: 'iroh: the key of this end (see keygen); without it a new one each time',
  },
  'iroh-relay': {
    type: 'string',
    value: 'URL',
    multiple: true,
    text: 'iroh: a relay of yours to go through; those that WHERE names are known',
  },
  'max-bytes': {
    type: 'string',
    value: 'N',
    text: 'the largest event, to be sent and heard, where the hub takes more than 1 MiB',
  },
  public: {
    type: 'boolean',
    text: 'iroh: find the hub by its id alone, over the public relays and address lookup of n0',
  },
};

export const whereNotes: readonly string[] = [
  'WHERE is ws://HOST:PORT, wss://HOST:PORT, redis://HOST:PORT, rediss://HOST:PORT, unix:///PATH (Redis), or',
  'iroh:TICKET or iroh:ID@ADDRESS,ADDRESS as "alkpubsub hub" prints it, with the relays in it; iroh:ID alone needs',
  '--iroh-relay or --public.',
  'The environment variable ALKPUBSUB_TOKEN is sent to WebSocket hubs as a bearer token.',
];

/** `maxMessageBytes` of spokes and hubs: 64 MiB is the most that either takes. */
export function readLimits(values: Values): { limits?: { maxMessageBytes: number } } {
  const maxMessageBytes = values.number('max-bytes', 1, 64 * 2 ** 20);
  return maxMessageBytes === undefined ? {} : { limits: { maxMessageBytes } };
}

export const tokenFromEnvironment = (): string | undefined => process.env.ALKPUBSUB_TOKEN || undefined;

export function readWhere(text: string, values: Values): Where {
  const scheme = /^([a-z]+):/.exec(text)?.[1];
  if (scheme === 'ws' || scheme === 'wss') return { text, connect: (options) => webSocket(text, values, options) };
  if (scheme === 'redis' || scheme === 'rediss' || scheme === 'unix')
    return { text: withoutSecrets(text), connect: (options) => redis(text, values, options) };
  if (scheme === 'iroh') return readIroh(text, values);
  throw usage(
    `"${text}" is no place to connect to: write ws://HOST:PORT, wss://…, redis://HOST:PORT or iroh:ID@ADDRESS`,
  );
}

/** For messages: a URL without its password. */
function withoutSecrets(text: string): string {
  return text.replace(/^(\w+:\/\/[^/@]*):[^/@]*@/, '$1:…@');
}

async function webSocket(url: string, values: Values, { wait, signal }: ConnectOptions): Promise<Link> {
  const { createWebSocketClientEventTarget } = await import('../event-target-websocket-client.js');
  const token = tokenFromEnvironment();
  const ca = pem(values);
  const target = createWebSocketClientEventTarget(url, {
    reconnect: { initial: wait },
    ...readLimits(values),
    ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
    ...(ca === undefined ? {} : { tls: { ca } }),
  });
  return linkTo(target, true, signal);
}

async function redis(url: string, values: Values, { wait, signal }: ConnectOptions): Promise<Link> {
  const { createRedisEventTarget } = await import('../event-target-redis.js');
  const [prefix, ca] = [values.text('prefix'), pem(values)];
  const target = createRedisEventTarget({
    url,
    reconnect: { initial: wait },
    ...readLimits(values),
    ...(prefix === undefined ? {} : { prefix }),
    ...(ca === undefined ? {} : { tls: { ca } }),
  });
  return linkTo(target, false, signal);
}

/** What --ca names, read. */
export function pem(values: Values): string | undefined {
  const path = values.text('ca');
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw usage(`--ca cannot be read: ${(error as Error).message}`);
  }
}

function readIroh(text: string, values: Values): Where {
  const [, hubNodeId = '', list = ''] = /^iroh:([^@]*)(?:@(.*))?$/.exec(text) ?? [];
  const addresses = list.split(',').filter((address) => address !== '');
  if (hubNodeId === '') throw usage(`"${text}" names nobody: write iroh:ID@ADDRESS, as "alkpubsub hub" prints it`);
  const [isPublic, relays] = [values.flag('public'), values.texts('iroh-relay')];
  if (isPublic && relays.length > 0) throw usage('--public and --iroh-relay exclude each other: give one of them');
  const isTicket = hubNodeId.startsWith('endpoint');
  if (addresses.length === 0 && !isTicket && !isPublic && relays.length === 0)
    throw usage(
      `an id alone says nothing about where it is: write iroh:${hubNodeId.slice(0, 8)}…@ADDRESS, as "alkpubsub hub" prints it, or add --iroh-relay URL or --public`,
    );
  return { text, connect: (options) => iroh({ id: hubNodeId, given: addresses }, values, options) };
}

interface Peer {
  /** An id, or a ticket. */
  readonly id: string;
  readonly given: readonly string[];
}

async function iroh({ id, given }: Peer, values: Values, { wait, signal }: ConnectOptions): Promise<Link> {
  const [{ Endpoint, parseNodeId, parseTicket }, { createIrohSpokeEventTarget }] = await Promise.all([
    import('../iroh.js'),
    import('../event-target-iroh-spoke.js'),
  ]);
  const ticket = id.startsWith('endpoint') ? parseTicket(id) : { nodeId: parseNodeId(id), addresses: [] };
  const hubNodeId = ticket.nodeId;
  const named = [...ticket.addresses, ...given];
  // An id alone is looked for at the relays that are known.
  const addresses = named.length > 0 ? named : values.texts('iroh-relay');
  const key = values.text('key');
  const endpoint = await Endpoint.createWithOptions({
    ...irohRelays(values, named.filter(isRelay)),
    ...(addresses.length === 0 ? {} : { addresses: { [hubNodeId]: addresses } }),
    ...(key === undefined ? {} : { keyFile: key }),
  });
  try {
    const common = { reconnect: { initial: wait }, ...readLimits(values), signal };
    const target = await createIrohSpokeEventTarget({ endpoint, hubNodeId, ...common });
    const close = async (): Promise<void> => {
      await target.close();
      await endpoint.close();
    };
    return { target, isHub: true, close };
  } catch (error) {
    await endpoint.close();
    throw error;
  }
}

const isRelay = (address: string): boolean => /^https?:/.test(address);

/** What the options, and the place that was named, say about relays, for an endpoint. */
export function irohRelays(values: Values, named: readonly string[] = []): IrohRelays {
  if (values.flag('public')) return { relays: 'default' };
  const relays = [...new Set([...values.texts('iroh-relay'), ...named])];
  const ca = pem(values);
  return { relays: relays.length > 0 ? relays : 'none', ...(ca === undefined ? {} : { relayRoots: ca }) };
}

interface IrohRelays {
  readonly relays: 'none' | 'default' | readonly string[];
  readonly relayRoots?: string;
}

/** Waits until the link is there. */
async function linkTo(target: NativeTarget, isHub: boolean, signal: AbortSignal): Promise<Link> {
  try {
    await opened(target, signal);
  } catch (error) {
    await target.close({ timeoutMs: 0 });
    throw error;
  }
  return { target, isHub, close: () => target.close() };
}
