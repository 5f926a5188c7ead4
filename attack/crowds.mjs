// Attacks by behaviour: readers that do not read, publishers that flood, connections that vanish at every step, more than there is room for.
import { closeFrame, envelope, frame, head, hello, Raw, sleep, subscribe, TEXT, until } from './raw.mjs';

const MIB = 1 << 20;

/** Every step of a connection's life, each ended by RST and by a plain close. */
const steps = {
  'after connecting': async (client) => client,
  'within the head': async (client, port) => client.write(head(port).slice(0, 40)),
  'behind the head': async (client, port) => client.write(head(port)),
  'let in': async (client, port) => {
    client.write(head(port));
    await client.status(101);
  },
  'behind hello': async (client, port) => {
    client.write(Buffer.concat([Buffer.from(head(port)), hello(), subscribe('attack:1')]));
  },
  'within the header of a frame': async (client, port) => {
    client.write(Buffer.concat([Buffer.from(head(port)), frame(TEXT, 'x'.repeat(300)).subarray(0, 3)]));
  },
  'within a frame': async (client, port) => {
    client.write(Buffer.concat([Buffer.from(head(port)), frame(TEXT, 'x'.repeat(300)).subarray(0, 100)]));
    await client.status(101);
  },
  'between fragments': async (client, port) => {
    client.write(Buffer.concat([Buffer.from(head(port)), frame(TEXT, '{', { fin: false })]));
  },
  'while events come': async (client, port) => {
    client.write(Buffer.concat([Buffer.from(head(port)), subscribe('health:beat')]));
    await client.status(101);
    await client.hears((text) => text.includes('beat'), 'a beat');
  },
  'behind an event': async (client, port) => {
    client.write(Buffer.concat([Buffer.from(head(port)), frame(TEXT, envelope('attack', 'heard', 1))]));
  },
  'behind its close frame': async (client, port) => {
    client.write(Buffer.concat([Buffer.from(head(port)), closeFrame(1000)]));
    await client.status(101);
  },
};

async function vanish({ port, scale }) {
  let count = 0;
  for (const [what, step] of Object.entries(steps)) {
    for (const end of ['reset', 'destroy']) {
      const clients = await Promise.all(
        Array.from({ length: Math.max(2, Math.round(40 * scale)) }, () => Raw.connect(port)),
      );
      await Promise.all(
        clients.map((client) =>
          step(client, port).catch((error) => {
            throw new Error(`${what}: ${error.message}`);
          }),
        ),
      );
      for (const client of clients) client[end]();
      count += clients.length;
    }
  }
  return `${count} connections gone at ${Object.keys(steps).length} steps, by RST and by FIN`;
}

/** Subscribers that stop reading while the hub publishes: cut, each at its bound. */
async function unreadEvents({ port, scale, hub }) {
  const clients = await Promise.all(Array.from({ length: 20 }, () => Raw.open(port)));
  for (const client of clients) client.write(subscribe('attack:flood'));
  await Promise.all(clients.map((client) => client.settles()));
  for (const client of clients) client.socket.pause();
  const before = (await hub.ask('state')).stats.slowConsumers;
  const began = performance.now();
  const published = Math.max(16, Math.round(64 * scale));
  await hub.ask('publish', { topic: ['attack', 'flood'], count: published * 16, bytes: 64 << 10 });
  const cut = await until(async () => {
    const { stats } = await hub.ask('state');
    return stats.slowConsumers - before === clients.length && stats;
  }, 'all of them are cut');
  const ms = Math.round(performance.now() - began);
  const peak = hub.memory().resident;
  for (const client of clients) client.destroy();
  return `20 stopped readers offered ${published} MiB each: all cut (1013) in ${ms} ms, ${cut.dropped} events dropped and counted so far, hub at ${Math.round(peak / MIB)} MiB`;
}

/** Publishers that send as fast as they can: what nobody wants, and what the hub's JavaScript hears. */
async function publishFlood({ port, scale, hub }) {
  const clients = await Promise.all(Array.from({ length: 4 }, () => Raw.open(port)));
  const size = Math.max(4, Math.round(40 * scale)) * MIB;
  let sent = 0;
  await Promise.all(
    clients.map(async (client, n) => {
      const topic = n % 2 === 0 ? 'heard' : 'unheard';
      const bytes = Buffer.concat(
        Array.from({ length: 300 }, () => frame(TEXT, envelope('attack', topic, 'x'.repeat(150)))),
      );
      for (let own = 0; own < size; own += bytes.length, sent += bytes.length)
        if (!(await client.push(bytes))) throw new Error(`closed with ${client.closeCode}`);
      await client.settles(120_000);
    }),
  );
  const { heard } = await hub.ask('state');
  for (const client of clients) client.destroy();
  return `${Math.round(sent / MIB)} MiB in small events, all read; the hub's JavaScript heard ${heard['attack:heard'].count}`;
}

/** More connections than there may be. */
async function tooMany({ port, limits, hub }) {
  const { stats } = await hub.ask('state');
  const room = limits.maxConnections - stats.connections;
  const clients = [];
  for (let n = 0; n < room; n += 50)
    clients.push(...(await Promise.all(Array.from({ length: Math.min(50, room - n) }, () => Raw.open(port)))));
  // Still there: the hub counts a connection a moment after its answer.
  await Promise.all(clients.map((client) => client.settles()));
  const refused = await Promise.all(Array.from({ length: 20 }, () => Raw.connect(port)));
  for (const client of refused) client.write(head(port));
  for (const client of refused) await client.status(503);
  for (const client of [...clients, ...refused]) client.destroy();
  await sleep(0);
  return `${room} fit, 20 more were refused with 503`;
}

export const crowds = {
  'gone at every step': vanish,
  'events, not read': unreadEvents,
  'publishers that flood': publishFlood,
  'more than maxConnections': tooMany,
};
