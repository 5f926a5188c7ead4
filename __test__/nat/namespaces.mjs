// Two private networks, each behind a NAT of its own, and the network between them: Linux namespaces, veth pairs, nftables masquerade.
// Does not know what talks through them. Invariant: what was made is gone with the test, also when making it failed half-way.
import { spawnSync } from 'node:child_process';

function run(command, ...args) {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}

/** False, or why there can be no such networks here. */
export const withoutNamespaces = whyNot();

function whyNot() {
  if (process.platform !== 'linux') return 'network namespaces are Linux';
  for (const [tool, ...args] of [
    ['ip', '-V'],
    ['nft', '--version'],
  ])
    if (spawnSync(tool, args).status !== 0) return `no ${tool}: "apt-get install iproute2 nftables"`;
  const name = `nat-probe-${process.pid}`;
  const made = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  if (made.status !== 0) return `network namespaces are not allowed here: ${made.stderr.trim()}`;
  const nat = spawnSync('ip', ['netns', 'exec', name, 'nft', 'add', 'table', 'ip', 'probe'], { encoding: 'utf8' });
  run('ip', 'netns', 'del', name);
  return nat.status === 0 ? false : `nftables is not allowed here: ${nat.stderr.trim()}`;
}

/** The address in the middle, where a server listens. */
export const MIDDLE = '10.77.0.1';

/**
 * Makes the networks: `middle`, and `left` and `right` behind their NATs, as commands to put before others.
 * `ports`: what a NAT does with the ports of what it sends on: `""` keeps them where it can, `"fully-random"` gives each flow another.
 */
export function makeNetworks(t, ports = '') {
  const name = (part) => `nat-${process.pid}-${part}`;
  const parts = ['middle', 'left-nat', 'left', 'right-nat', 'right'];
  const inside = (part, ...command) => run('ip', 'netns', 'exec', name(part), ...command);
  t.after(() => {
    for (const part of parts) spawnSync('ip', ['netns', 'del', name(part)]);
  });
  for (const part of parts) {
    run('ip', 'netns', 'add', name(part));
    inside(part, 'ip', 'link', 'set', 'lo', 'up');
    inside(part, 'sysctl', '-q', '-w', 'net.ipv4.ip_forward=1');
  }
  inside('middle', 'ip', 'address', 'add', `${MIDDLE}/32`, 'dev', 'lo');
  for (const [index, side] of ['left', 'right'].entries()) {
    const [outer, inner, nat] = [`10.77.${index + 1}`, `192.168.${index + 1}`, `${side}-nat`];
    link(name, inside, ['middle', `to-${side}`, `${outer}.1/24`], [nat, 'out', `${outer}.2/24`]);
    link(name, inside, [nat, 'in', `${inner}.1/24`], [side, 'out', `${inner}.2/24`]);
    inside(nat, 'ip', 'route', 'add', 'default', 'via', `${outer}.1`);
    inside(side, 'ip', 'route', 'add', 'default', 'via', `${inner}.1`);
    inside(nat, 'nft', 'add', 'table', 'ip', 'nat');
    inside(nat, 'nft', 'add chain ip nat after { type nat hook postrouting priority srcnat; }');
    inside(nat, 'nft', `add rule ip nat after oifname "out" masquerade ${ports}`);
    // As at home: what nobody inside has asked for is dropped in silence. (An answer would leave an entry that takes the port.)
    inside(nat, 'nft', 'add table ip filter');
    for (const hook of ['input', 'forward']) {
      inside(nat, 'nft', `add chain ip filter ${hook} { type filter hook ${hook} priority filter; }`);
      inside(nat, 'nft', `add rule ip filter ${hook} iifname "out" ct state new drop`);
    }
  }
  const via = (part) => ['ip', 'netns', 'exec', name(part)];
  /** The NAT of the left network gets another address outside, as when a provider gives a new one; it is returned. */
  const readdress = () => {
    inside('left-nat', 'ip', 'address', 'del', '10.77.1.2/24', 'dev', 'out');
    inside('left-nat', 'ip', 'address', 'add', '10.77.1.3/24', 'dev', 'out');
    inside('left-nat', 'ip', 'route', 'add', 'default', 'via', '10.77.1.1');
    return '10.77.1.3';
  };
  return { middle: via('middle'), left: via('left'), right: via('right'), readdress };
}

/** A cable between two namespaces, with an address at each end. */
function link(name, inside, [one, oneDevice, oneAddress], [two, twoDevice, twoAddress]) {
  const peer = ['peer', 'name', twoDevice, 'netns', name(two)];
  run('ip', '-n', name(one), 'link', 'add', oneDevice, 'type', 'veth', ...peer);
  for (const [part, device, address] of [
    [one, oneDevice, oneAddress],
    [two, twoDevice, twoAddress],
  ]) {
    inside(part, 'ip', 'address', 'add', address, 'dev', device);
    inside(part, 'ip', 'link', 'set', device, 'up');
  }
}
