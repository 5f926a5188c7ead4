// Starts sets of real servers, each on free ports: a master with replicas and Sentinels, and clusters. Knows no tests.
import { eventually } from '../websocket/facts.mjs';
import { freePort, startRedis, startSentinel } from './server.mjs';

/** Elections and the news of them take their time on a busy machine. */
export const PATIENCE_MS = 60_000;

const info = async (server, section) =>
  Object.fromEntries((await server.command('INFO', section)).split('\r\n').map((line) => line.split(':', 2)));

/** A master, a replica, and three Sentinels that watch it as `events`. */
export async function startSentinelSet(t, { settings = [], lines = [] } = {}) {
  const name = 'events';
  const quick = ['--repl-diskless-sync-delay', '0', ...settings];
  const [master, replica] = await Promise.all([startRedis(t, ...quick), startRedis(t, ...quick)]);
  await replica.command('REPLICAOF', '127.0.0.1', String(master.port));
  await eventually(
    async () => (await info(replica, 'replication')).master_link_status === 'up',
    'the replica',
    PATIENCE_MS,
  );
  const watching = [
    `sentinel down-after-milliseconds ${name} 1000`,
    `sentinel failover-timeout ${name} 5000`,
    ...lines,
  ];
  const sentinels = await Promise.all([1, 2, 3].map(() => startSentinel(t, name, master.port, 2, ...watching)));
  const set = new SentinelSet(name, [master, replica], sentinels);
  await eventually(() => set.isComplete(), 'the Sentinels know each other and the replica', PATIENCE_MS);
  return set;
}

class SentinelSet {
  constructor(name, servers, sentinels) {
    this.name = name;
    this.servers = servers;
    this.sentinels = sentinels;
  }

  get options() {
    return { sentinels: this.sentinels.map(({ port }) => ({ host: '127.0.0.1', port })), serviceName: this.name };
  }

  async isComplete() {
    for (const sentinel of this.sentinels) {
      const [flat] = await sentinel.command('SENTINEL', 'MASTERS');
      const master = Object.fromEntries(flat.flatMap((word, i) => (i % 2 === 0 ? [[word, flat[i + 1]]] : [])));
      if (master['num-slaves'] !== '1' || master['num-other-sentinels'] !== '2') return false;
    }
    return true;
  }

  /** The server that all Sentinels name. */
  async master() {
    const named = await Promise.all(
      this.sentinels.map((sentinel) => sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', this.name)),
    );
    const ports = new Set(named.map(([, port]) => Number(port)));
    return ports.size === 1 ? this.servers.find(({ port }) => ports.has(port)) : undefined;
  }

  async becomesMaster(server) {
    await eventually(async () => (await this.master()) === server, 'the new master', PATIENCE_MS);
  }
}

/** A cluster of masters that share the slots, each with so many replicas. */
export async function startCluster(t, { masters = 3, replicas = 0, settings = [] } = {}) {
  const count = masters * (1 + replicas);
  const nodes = await Promise.all(Array.from({ length: count }, () => startNode(t, settings)));
  await Promise.all(
    nodes.map(async (node, index) => {
      node.id = await node.command('CLUSTER', 'MYID');
      await node.command('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
    }),
  );
  const bounds = Array.from({ length: masters + 1 }, (_, index) => Math.floor((16384 * index) / masters));
  await Promise.all(
    nodes
      .slice(0, masters)
      .map((node, index) =>
        node.command('CLUSTER', 'ADDSLOTSRANGE', String(bounds[index]), String(bounds[index + 1] - 1)),
      ),
  );
  const [first, ...others] = nodes;
  for (const { port, busPort } of others)
    await first.command('CLUSTER', 'MEET', '127.0.0.1', String(port), String(busPort));
  const cluster = new Cluster(nodes, masters);
  await eventually(() => cluster.agrees(count), 'all nodes know each other', PATIENCE_MS);
  for (const [index, node] of nodes.entries())
    if (index >= masters) await node.command('CLUSTER', 'REPLICATE', nodes[index % masters].id);
  for (const node of nodes.slice(masters))
    await eventually(
      async () => (await info(node, 'replication')).master_link_status === 'up',
      'a replica',
      PATIENCE_MS,
    );
  await eventually(() => cluster.agrees(count, replicas * masters), 'all nodes know the replicas', PATIENCE_MS);
  return cluster;
}

async function startNode(t, settings) {
  const busPort = await freePort();
  const node = await startRedis(
    t,
    ...['--cluster-enabled', 'yes', '--cluster-port', String(busPort)],
    ...['--cluster-node-timeout', '2000', '--repl-diskless-sync-delay', '0', ...settings],
  );
  node.busPort = busPort;
  return node;
}

class Cluster {
  constructor(nodes, masters) {
    this.nodes = nodes;
    this.masters = nodes.slice(0, masters);
  }

  get options() {
    return { nodes: this.nodes.map(({ port }) => ({ host: '127.0.0.1', port })) };
  }

  /** Every node sees so many nodes, so many of them replicas, and all slots served. */
  async agrees(count, replicas = 0) {
    for (const node of this.nodes) {
      const [state, known] = await Promise.all([node.command('CLUSTER', 'INFO'), node.command('CLUSTER', 'NODES')]);
      const lines = known.trim().split('\n');
      const isWhole = lines.length === count && !/handshake|fail/.test(known) && /cluster_state:ok/.test(state);
      if (!isWhole || lines.filter((line) => / (myself,)?slave /.test(line)).length !== replicas) return false;
    }
    return true;
  }

  /** The node that says of itself that it owns the slot. */
  async ownerOf(slot) {
    for (const node of this.nodes) {
      const shards = await node.command('CLUSTER', 'SLOTS').catch(() => []);
      const range = shards.find(([from, to]) => from <= slot && slot <= to);
      if (range?.[2][1] === node.port) return node;
    }
    return undefined;
  }

  slotOf(channel) {
    return this.nodes[0].command('CLUSTER', 'KEYSLOT', channel);
  }

  /** Moves a slot as redis-cli does: the new owner is told first. */
  async move(slot, from, to) {
    const [place, name] = [String(slot), 'CLUSTER'];
    await to.command(name, 'SETSLOT', place, 'IMPORTING', from.id);
    await from.command(name, 'SETSLOT', place, 'MIGRATING', to.id);
    const others = this.masters.filter((node) => node !== to && node !== from);
    for (const node of [to, from, ...others]) await node.command(name, 'SETSLOT', place, 'NODE', to.id);
  }
}
