// `doctor`: says what this machine is, whether the addon is there and works, and whether places can be reached. Changes nothing, and contacts
// nobody but this machine and the places that are named.
// Invariant: a check that fails says what to do, and one that could not be made says why.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { addon, unavailable } from '../addon.js';
import { opened } from '../opened.js';
import { createEvent } from '../topic.js';
import type { NativeTarget } from '../types.js';
import type { Command, Context, Values } from './command.js';
import { withDeadline } from './deadline.js';
import { exitCodes, toFailure } from './failure.js';
import { irohRelays, readWhere, whereNotes, whereOptions } from './where.js';

/** A check that takes longer has failed. */
const PATIENCE_MS = 10_000;

interface Finding {
  readonly status: 'ok' | 'failed' | 'skipped';
  readonly detail: string;
  readonly remedy?: string;
}

const ok = (detail: string): Finding => ({ status: 'ok', detail });
const failed = (detail: string, remedy: string): Finding => ({ status: 'failed', detail, remedy });
const skipped = (detail: string): Finding => ({ status: 'skipped', detail });

export const doctor: Command = {
  name: 'doctor',
  takes: '[WHERE…]',
  summary: 'Checks this machine, the addon, UDP, and whether places can be reached.',
  options: whereOptions,
  notes: [
    'Nobody but this machine, the places and the relays that are named is contacted; with --public the relays of n0 are.',
    ...whereNotes,
  ],
  examples: [
    ['alkpubsub doctor', 'this machine'],
    ['alkpubsub doctor wss://hub.example.com redis://127.0.0.1', 'and two places'],
  ],
  async run(context) {
    const places = context.positionals.map((text) => readWhere(text, context.values));
    const hasRelays = irohRelays(context.values).relays !== 'none';
    const checks: (readonly [string, () => Finding | Promise<Finding>])[] = [
      ['platform', platform],
      ['addon', binary],
      ['websocket', () => withAddon(webSocket)],
      ['iroh', () => withIroh(iroh)],
      ['udp', udp],
      ...(hasRelays ? [['relays', () => withIroh(() => relays(context.values))] as const] : []),
      ...places.map((where) => [where.text, () => reach(where, context)] as const),
    ];
    let isWell = true;
    for (const [name, check] of checks) {
      const finding = await context.terminal.during(() => `checking ${name}`, found(check));
      isWell &&= finding.status !== 'failed';
      const remedy =
        finding.remedy === undefined ? '' : `\n           ${finding.remedy.replaceAll('\n', '\n           ')}`;
      const text = `${finding.status.padEnd(8)}${name.padEnd(11)} ${finding.detail.replaceAll('\n', '\n           ')}${remedy}`;
      context.terminal.result(text, { event: 'check', name, ...finding });
      if (context.stop.aborted) return exitCodes.interrupted;
    }
    return isWell ? exitCodes.done : exitCodes.failed;
  },
};

async function found(check: () => Finding | Promise<Finding>): Promise<Finding> {
  try {
    return await check();
  } catch (error) {
    const [detail = '', ...remedy] = toFailure(error).message.split('\n');
    return failed(detail, remedy.join('\n') || 'See docs/errors.md for this code.');
  }
}

interface PlatformFacts {
  libc(): { readonly name: string; readonly version: string | undefined } | undefined;
  packageName(): string | undefined;
}

const require = createRequire(import.meta.url);

function platform(): Finding {
  const libc = (require('../../platform.cjs') as PlatformFacts).libc();
  const { version } = require('../../package.json') as { version: string };
  const library = libc === undefined ? '' : `, ${libc.name} ${libc.version ?? '(version unknown)'}`;
  return ok(`${process.platform}-${process.arch}${library}, ${runtime()}, package ${version}`);
}

function runtime(): string {
  const { deno, bun, node } = process.versions as Record<string, string | undefined>;
  return deno ? `Deno ${deno}` : bun ? `Bun ${bun}` : `Node.js ${node}`;
}

function binary(): Finding {
  if (addon === undefined) {
    const [detail = '', ...remedy] = (unavailable?.message ?? '').split('\n');
    return failed(detail, remedy.join('\n'));
  }
  const loaded = Object.keys(require.cache ?? {}).find(
    (file) => file.endsWith('.node') && file.includes('pubsub-native'),
  );
  const has = (name: string, part: unknown) => `${part === undefined ? 'without' : 'with'} ${name}`;
  const parts = [has('Iroh', addon.NativeEndpoint), has('Redis', addon.redisTarget)].join(', ');
  return ok(`${loaded ?? (require('../../platform.cjs') as PlatformFacts).packageName() ?? 'loaded'}, ${parts}`);
}

const withAddon = (check: () => Promise<Finding>): Promise<Finding> =>
  addon === undefined ? Promise.resolve(skipped('there is no addon')) : check();

const withIroh = (check: () => Promise<Finding>): Promise<Finding> =>
  addon !== undefined && addon.NativeEndpoint === undefined
    ? Promise.resolve(skipped('this addon was built without Iroh'))
    : withAddon(check);

async function webSocket(): Promise<Finding> {
  const [{ createWebSocketServerEventTarget }, { createWebSocketClientEventTarget }] = await Promise.all([
    import('../event-target-websocket-server.js'),
    import('../event-target-websocket-client.js'),
  ]);
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 } });
  try {
    await opened(hub);
    const spoke = createWebSocketClientEventTarget(hub.address?.url ?? '', { reconnect: false });
    const ms = await trip(hub, spoke).finally(() => spoke.close());
    return ok(`an event went from a hub to a spoke on this machine, ${ms} ms with connecting`);
  } finally {
    await hub.close();
  }
}

async function iroh(): Promise<Finding> {
  const [{ Endpoint }, { createIrohHubEventTarget }, { createIrohSpokeEventTarget }] = await Promise.all([
    import('../iroh.js'),
    import('../event-target-iroh-hub.js'),
    import('../event-target-iroh-spoke.js'),
  ]);
  const at = await Endpoint.createWithOptions({ bind: '127.0.0.1:0' });
  const addresses = { [at.nodeId()]: at.boundSockets() };
  const from = await Endpoint.createWithOptions({ bind: '127.0.0.1:0', addresses });
  const targets: NativeTarget[] = [];
  try {
    const hub = await createIrohHubEventTarget({ endpoint: at });
    targets.unshift(hub);
    const spoke = await createIrohSpokeEventTarget({ endpoint: from, hubNodeId: at.nodeId() });
    targets.unshift(spoke);
    return ok(`an event went from a hub to a spoke on this machine, ${await trip(hub, spoke)} ms`);
  } finally {
    for (const target of targets) await target.close();
    await Promise.all([from.close(), at.close()]);
  }
}

/** Milliseconds until an event of the one was heard by the other. */
function trip(hub: NativeTarget, spoke: NativeTarget): Promise<number> {
  const start = performance.now();
  return withDeadline(PATIENCE_MS, async (signal) => {
    await opened(spoke, signal);
    const heard = new Promise((resolve) => spoke.addEventListener('alkpubsub.doctor:trip', resolve, { once: true }));
    await spoke.ready('alkpubsub.doctor:trip', { signal });
    hub.dispatchEvent(createEvent('alkpubsub.doctor', 'trip', null));
    await Promise.race([heard, rejected(signal)]);
    return Math.round(performance.now() - start);
  });
}

const rejected = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));

interface DenoPermissions {
  readonly Deno?: { readonly permissions: { querySync(wanted: { name: 'net'; host: string }): { state: string } } };
}

/** Deno raises a refused socket where nobody can catch it, so it is asked before. */
function mayNet(host: string): boolean {
  const { Deno } = globalThis as DenoPermissions;
  return Deno === undefined || Deno.permissions.querySync({ name: 'net', host }).state === 'granted';
}

/** A datagram to ourselves, over each family of addresses. */
async function udp(): Promise<Finding> {
  if (!mayNet('127.0.0.1:0') || !mayNet('[::1]:0'))
    return skipped('this check, and no other, needs --allow-net=127.0.0.1,[::1]');
  const one = async (type: 'udp4' | 'udp6', address: string): Promise<boolean> => {
    const socket = createSocket(type);
    try {
      await withDeadline(1000, async (signal) => {
        socket.bind(0, address);
        await once(socket, 'listening', { signal });
        const message = once(socket, 'message', { signal });
        socket.send('doctor', socket.address().port, address);
        await message;
      });
      return true;
    } catch {
      return false;
    } finally {
      socket.close();
    }
  };
  const [four, six] = [await one('udp4', '127.0.0.1'), await one('udp6', '::1')];
  const said = (works: boolean): string => (works ? 'works' : 'does not work');
  const detail = `on loopback IPv4 ${said(four)}, IPv6 ${said(six)}`;
  return four ? ok(detail) : failed(detail, 'Iroh needs UDP: allow it in the sandbox or firewall of this machine.');
}

async function relays(values: Values): Promise<Finding> {
  const { Endpoint } = await import('../iroh.js');
  const endpoint = await Endpoint.createWithOptions(irohRelays(values));
  try {
    // What waits at an endpoint keeps no process alive; the timer of the deadline does.
    await withDeadline(PATIENCE_MS, (signal) => endpoint.online({ signal }));
    return ok(`reached through ${endpoint.addresses().find((address) => address.includes('://'))}`);
  } catch (error) {
    const why = endpoint.relays().map((relay) => relay.error)[0];
    const remedy = values.flag('public')
      ? 'Allow outgoing HTTPS to the relays of n0, or use a relay of yours (--iroh-relay URL).'
      : 'Is a relay running there, and is its certificate one that is believed (--ca FILE)?';
    return failed(why ?? (error as Error).message, remedy);
  } finally {
    await endpoint.close();
  }
}

async function reach(where: ReturnType<typeof readWhere>, { values, stop }: Context): Promise<Finding> {
  const start = performance.now();
  const connect = (late: AbortSignal): ReturnType<typeof where.connect> =>
    where.connect({ wait: values.flag('wait'), signal: AbortSignal.any([stop, late]) });
  const link = await withDeadline(PATIENCE_MS, connect);
  const ms = Math.round(performance.now() - start);
  await link.close();
  return ok(`connected in ${ms} ms`);
}
