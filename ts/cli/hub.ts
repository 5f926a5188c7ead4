// `hub`: a hub over WebSocket and, where the addon has it, Iroh, until a signal comes. Reads its options; the hub does the rest.
// Invariants: without a word of the user nobody but this machine reaches it, and no server is contacted; a signal ends it in order, exit code 0.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Admission, PeerInfo } from '../authorize.js';
import type { HubOptions } from '../hub-options.js';
import type { Endpoint } from '../iroh.js';
import type { Command, Context, Values } from './command.js';
import { exitCodes, toFailure, usage } from './failure.js';
import { aborted, tellAbout } from './link-events.js';
import { irohRelays, pem, readLimits, tokenFromEnvironment } from './where.js';

const DEFAULT_PORT = 8080;

export const hub: Command = {
  name: 'hub',
  takes: '',
  summary: 'Runs a hub that gives the events of each connection to all others, until Ctrl-C.',
  options: {
    port: { type: 'string', value: 'N', text: `WebSocket port; 0 is a free one (${DEFAULT_PORT})` },
    host: { type: 'string', value: 'ADDRESS', text: 'WebSocket address (127.0.0.1)' },
    'no-websocket': { type: 'boolean', text: 'no WebSocket' },
    origin: { type: 'string', value: 'ORIGIN', multiple: true, text: 'web pages of this origin may connect' },
    'tls-cert': { type: 'string', value: 'FILE', text: 'PEM: speak wss: with this certificate' },
    'tls-key': { type: 'string', value: 'FILE', text: 'PEM: its key' },
    'no-iroh': { type: 'boolean', text: 'no Iroh' },
    key: {
      type: 'string',
      value: 'FILE',
      text: 'the key of this hub for Iroh (see keygen); without it a new one each time',
    },
    'iroh-bind': {
      type: 'string',
      value: 'ADDRESS',
      text: 'UDP address (127.0.0.1:0; with --allow or --anyone 0.0.0.0:0)',
    },
    allow: { type: 'string', value: 'ID', multiple: true, text: 'only these ids may come in over Iroh' },
    'iroh-relay': { type: 'string', value: 'URL', multiple: true, text: 'a relay of yours, for Iroh' },
    ca: { type: 'string', value: 'FILE', text: 'PEM: authorities that relays and a rediss: are checked against' },
    public: {
      type: 'boolean',
      text: 'use the public relays and address lookup of n0: this machine then contacts them',
    },
    redis: { type: 'string', value: 'URL', text: 'join all hubs at this Redis to one' },
    prefix: { type: 'string', text: 'stands before every topic there' },
    anyone: { type: 'boolean', text: 'whoever reaches the hub may publish and subscribe, also from other machines' },
    'max-bytes': { type: 'string', value: 'N', text: 'the largest event that it takes (1048576)' },
    'no-relay': { type: 'boolean', text: 'events of a connection do not go to the others' },
  },
  notes: [
    'With the environment variable ALKPUBSUB_TOKEN a WebSocket needs "Authorization: Bearer TOKEN"; Iroh has no tokens and needs --allow then.',
    'Without token, --allow and --anyone only this machine reaches the hub.',
  ],
  examples: [
    ['alkpubsub hub', 'for this machine, on port 8080'],
    [
      'ALKPUBSUB_TOKEN=secret alkpubsub hub --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem',
      'for those with the token',
    ],
    ['alkpubsub hub --no-websocket --key hub.key --allow ID --public', 'for one peer anywhere, over Iroh'],
    ['alkpubsub hub --port 0 --redis redis://127.0.0.1 --prefix app:', 'one of several hubs'],
  ],
  run: runHub,
};

async function runHub(context: Context): Promise<number> {
  const { positionals, values, terminal, stop } = context;
  if (positionals.length > 0) throw usage(`hub takes no "${positionals[0]}": everything is an option`);
  const settings = readSettings(values);
  const { createHub } = await import('../hub.js');
  const endpoint = settings.hasIroh ? await terminal.during(() => 'binding Iroh', bindEndpoint(values)) : undefined;
  if (endpoint === undefined && !settings.hasWebSocket)
    throw usage('nothing is left to listen on: this addon has no Iroh, or it is switched off');
  try {
    const anyone = values.flag('anyone');
    const target = createHub({
      ...settings.common,
      ...(settings.hasWebSocket ? { websocket: { ...readListen(values), anyone } } : {}),
      ...(endpoint === undefined ? {} : { iroh: { endpoint, anyone: anyone || isAllowed(values) } }),
    });
    tellAbout(target, 'the hub', terminal);
    tellConnections(target, context);
    await terminal.during(() => 'starting', Promise.race([target.ready(), aborted(stop)]));
    if (endpoint !== undefined && irohRelays(values).relays !== 'none')
      await terminal.during(() => 'waiting for a relay', reachRelay(endpoint, context));
    const url = settings.hasWebSocket ? target.address?.url : undefined;
    if (!stop.aborted) announce(url, endpoint, settings, context);
    const ended = target.closed.then(({ error }) => {
      if (error !== undefined) throw toFailure(error);
    });
    await Promise.race([aborted(stop), ended]);
    await terminal.during(() => 'closing', target.close({ code: 1001, reason: 'the hub was stopped' }));
    terminal.note('stopped', { event: 'stopped' });
  } finally {
    await endpoint?.close();
  }
  return exitCodes.done;
}

interface Settings {
  readonly hasWebSocket: boolean;
  readonly hasIroh: boolean;
  readonly whyNoIroh: string | undefined;
  readonly common: HubOptions;
}

const isAllowed = (values: Values): boolean => values.texts('allow').length > 0;

function readSettings(values: Values): Settings {
  const [token, redis, prefix] = [tokenFromEnvironment(), values.text('redis'), values.text('prefix')];
  const isOpen = values.flag('anyone') || isAllowed(values);
  if (prefix !== undefined && redis === undefined) throw usage('--prefix is for --redis: give both, or neither');
  if (values.flag('public') && values.texts('iroh-relay').length > 0)
    throw usage('--public and --iroh-relay exclude each other: give one of them');
  if ((values.flag('public') || values.texts('iroh-relay').length > 0) && !isOpen)
    throw usage('over relays anybody reaches the hub: name peers with --allow ID, or say --anyone and mean it');
  const whyNoIroh = values.flag('no-iroh')
    ? 'switched off'
    : token !== undefined && !isOpen
      ? 'it has no tokens: name peers with --allow ID'
      : undefined;
  return {
    hasWebSocket: !values.flag('no-websocket'),
    hasIroh: whyNoIroh === undefined,
    whyNoIroh,
    common: {
      relay: !values.flag('no-relay'),
      ...readLimits(values),
      ...(token === undefined ? {} : { authorize: { connect: (peer: PeerInfo) => admit(peer, token) } }),
      ...(redis === undefined ? {} : { backplane: readBackplane(redis, values) }),
    },
  };
}

function readBackplane(url: string, values: Values): HubOptions['backplane'] {
  const [prefix, ca] = [values.text('prefix'), url.startsWith('rediss:') ? pem(values) : undefined];
  return {
    url,
    ...readLimits(values),
    ...(prefix === undefined ? {} : { prefix }),
    ...(ca === undefined ? {} : { tls: { ca } }),
  };
}

/** Peers over Iroh were checked by the endpoint. Nothing: not known, may come again with another token. */
function admit({ transport, headers }: PeerInfo, token: string): Admission {
  if (transport === 'iroh') return true;
  return isSame(headers.authorization ?? '', `Bearer ${token}`) ? true : undefined;
}

/** In a time that says nothing about the texts. */
function isSame(one: string, other: string): boolean {
  const [a, b] = [one, other].map((text) => createHash('sha256').update(text).digest());
  return timingSafeEqual(a as Buffer, b as Buffer);
}

function readListen(values: Values) {
  const [cert, key] = [values.text('tls-cert'), values.text('tls-key')];
  if ((cert === undefined) !== (key === undefined)) throw usage('--tls-cert and --tls-key belong together');
  const origins = values.texts('origin');
  for (const origin of origins) checkOrigin(origin);
  return {
    allowedOrigins: origins,
    listen: { port: values.number('port', 0, 65_535) ?? DEFAULT_PORT, host: values.text('host') ?? '127.0.0.1' },
    ...(cert === undefined || key === undefined ? {} : { tls: { cert, key } }),
  };
}

/** As browsers write it: a page's scheme, host and port, nothing behind them. */
function checkOrigin(text: string): void {
  const origin = URL.canParse(text) ? new URL(text).origin : undefined;
  if (origin === text) return;
  const instead = origin === undefined || origin === 'null' ? 'https://example.com' : origin;
  throw usage(`--origin must be an origin, such as ${instead}, got "${text}"`);
}

/** Nothing where the addon was built without Iroh. */
async function bindEndpoint(values: Values): Promise<Endpoint | undefined> {
  const { addon } = await import('../addon.js');
  if (addon !== undefined && addon.NativeEndpoint === undefined) return undefined;
  const { Endpoint } = await import('../iroh.js');
  const [key, allow] = [values.text('key'), values.texts('allow')];
  const bind = values.text('iroh-bind') ?? (values.flag('anyone') || allow.length > 0 ? '0.0.0.0:0' : '127.0.0.1:0');
  return Endpoint.createWithOptions({
    bind,
    ...irohRelays(values),
    ...(key === undefined ? {} : { keyFile: key }),
    ...(allow.length === 0 ? {} : { allow }),
  });
}

/** How long the announcement waits for a relay. Source: none, a guess. */
const RELAY_PATIENCE_MS = 10_000;

/** Waits until a relay has taken the endpoint; a hub that none takes goes on without, and says so. */
async function reachRelay(endpoint: Endpoint, { terminal, stop }: Context): Promise<void> {
  try {
    await endpoint.online({ timeoutMs: RELAY_PATIENCE_MS, signal: stop });
  } catch (error) {
    if (stop.aborted) return;
    const { code, message } = toFailure(error);
    terminal.note(`no relay yet: ${message}`, { event: 'problem', code, message });
  }
}

function announce(url: string | undefined, endpoint: Endpoint | undefined, settings: Settings, context: Context): void {
  const { terminal, values } = context;
  const iroh = endpoint && {
    where: `iroh:${endpoint.nodeId()}@${endpoint.addresses().join(',')}`,
    ticket: endpoint.ticket(),
    id: endpoint.nodeId(),
    addresses: endpoint.addresses(),
  };
  const whyNoIroh = settings.whyNoIroh ?? (iroh === undefined ? 'this addon was built without it' : undefined);
  const text = [
    ...(url === undefined ? [] : [`websocket  ${url}`]),
    iroh === undefined ? `iroh       none: ${whyNoIroh}` : `iroh       ${iroh.where}`,
    ...(iroh === undefined ? [] : [`ticket     iroh:${iroh.ticket}`, `identity   ${iroh.id}`]),
    ...(values.text('redis') === undefined ? [] : ['backplane  Redis']),
  ];
  const websocket = url === undefined ? null : { where: url };
  terminal.result(text.join('\n'), { event: 'listening', websocket, iroh: iroh ?? null, whyNoIroh });
}

type Hub = ReturnType<typeof import('../hub.js')['createHub']>;

function tellConnections(target: Hub, { terminal }: Context): void {
  target.addEventListener('connection', ({ detail: { connection } }) => {
    const { id, transport, remoteAddress, identity } = connection;
    terminal.note(`connection ${id} over ${transport} from ${identity ?? remoteAddress}`, {
      ...{ event: 'connection', id, transport, remoteAddress, identity },
    });
  });
  target.addEventListener('disconnection', ({ detail: { connection, code, reason, clean } }) => {
    const how = clean ? `closed with ${code}` : `lost (${code})`;
    terminal.note(`connection ${connection.id} ${how}${reason === '' ? '' : `: ${reason}`}`, {
      ...{ event: 'disconnection', id: connection.id, code, reason, clean },
    });
  });
  target.addEventListener('backpressure', ({ detail: { connection, bufferedAmount } }) => {
    terminal.note(`connection ${connection.id} reads too slowly and is closed`, {
      ...{ event: 'backpressure', id: connection.id, bufferedAmount },
    });
  });
}
