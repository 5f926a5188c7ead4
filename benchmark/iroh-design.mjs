// What docs/decisions/0007-iroh.md decides, measured through the binding: one stream or several, a stream or a connection for each spoke, accepting one
// after the other or all at once. `node benchmark/iroh-design.mjs`. Both ends in a process each; medians over the rounds, smallest and largest in brackets.

import { fork } from 'node:child_process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { memoryOf, spread, table } from './measure.mjs';
import { setUpPackage } from './setup.mjs';

const ALPN = 'design/1';
const MIB = 64;
const CHUNK = 64 * 1024;
const PEERS = 200;
const STREAMS = 90;
const ROUNDS = Number(process.env.ROUNDS ?? 3);

/** The other end: accepts, counts what comes, and tells. */
async function child(folder) {
  const { Endpoint } = await import(pathToFileURL(`${folder}/dist/iroh.js`).href);
  const endpoint = (await Endpoint.createWithOptions({ bind: '127.0.0.1:0', alpns: [ALPN] })).ref();
  let bytes = 0;
  let streams = 0;
  let connections = 0;
  const drain = async ({ recv }) => {
    streams++;
    for (;;) {
      const chunk = await recv.read(2 ** 20);
      if (chunk === undefined) return;
      bytes += chunk.length;
    }
  };
  const serve = async (connection) => {
    connections++;
    for (;;) drain(await connection.acceptBi()).catch(() => {});
  };
  const accept = async () => {
    for (;;) serve(await endpoint.accept()).catch(() => {});
  };
  accept();
  process.on('message', () => process.send({ bytes, streams, connections, resident: memoryOf(process.pid).resident }));
  process.on('disconnect', () => process.exit());
  process.send({ ticket: endpoint.ticket() });
}

async function main() {
  const folder = process.env.BENCH_PACKAGE ?? setUpPackage();
  const { Endpoint } = await import(pathToFileURL(`${folder}/dist/iroh.js`).href);

  /** A fresh other end, and `until` which asks it until what it says is enough. */
  async function withPeer(work) {
    const peer = fork(fileURLToPath(import.meta.url), ['child', folder]);
    const answer = () => new Promise((resolve) => peer.once('message', resolve));
    const { ticket } = await answer();
    const ask = () => {
      const answered = answer();
      peer.send({});
      return answered;
    };
    const until = async (enough) => {
      for (;;) {
        const state = await ask();
        if (enough(state)) return state;
      }
    };
    const own = await Endpoint.createWithOptions({ bind: '127.0.0.1:0' });
    try {
      return await work({ own, ticket, ask, until });
    } finally {
      peer.kill('SIGKILL');
      own.close();
    }
  }

  /** MiB per second over so many streams of one connection. */
  const streams = (count) =>
    withPeer(async ({ own, ticket, until }) => {
      const connection = await own.connect(ticket, ALPN);
      const halves = await Promise.all(Array.from({ length: count }, () => connection.openBi()));
      const chunk = new Uint8Array(CHUNK);
      const start = performance.now();
      const write = async ({ send }) => {
        for (let left = (MIB * 2 ** 20) / count; left > 0; left -= CHUNK) await send.writeAll(chunk);
      };
      await Promise.all(halves.map(write));
      await until(({ bytes }) => bytes >= MIB * 2 ** 20);
      return (MIB * 1000) / (performance.now() - start);
    });

  const open = async (connection) => {
    const { send, recv } = await connection.openBi();
    await send.writeAll(new Uint8Array(1));
    return { send, recv };
  };

  /** KiB of the other end for each stream of one connection: 90, a peer lets a hundred be open at once. */
  const streamMemory = () =>
    withPeer(async ({ own, ticket, until }) => {
      const connection = await own.connect(ticket, ALPN);
      const held = [await open(connection)];
      const before = (await until((state) => state.streams === 1)).resident;
      for (let n = 0; n < STREAMS; n++) held.push(await open(connection));
      const { resident } = await until((state) => state.streams === STREAMS + 1);
      return (resident - before) / STREAMS / 1024;
    });

  /** KiB of the other end for each of 200 connections with a stream, and milliseconds until all are there. */
  const connections = (isConcurrent) =>
    withPeer(async ({ own, ticket, until }) => {
      await open(await own.connect(ticket, ALPN));
      const before = (await until((state) => state.streams === 1)).resident;
      const start = performance.now();
      const dial = async () => open(await own.connect(ticket, ALPN));
      if (isConcurrent) await Promise.all(Array.from({ length: PEERS }, dial));
      else for (let n = 0; n < PEERS; n++) await dial();
      const { resident } = await until((state) => state.streams === PEERS + 1);
      return { kib: (resident - before) / PEERS / 1024, ms: performance.now() - start };
    });

  const rounds = async (measure) => {
    const values = [];
    for (let round = 0; round < ROUNDS; round++) values.push(await measure());
    return values;
  };
  const rows = [];
  const add = (figure, values, digits = 0) => {
    rows.push({ figure, 'median (smallest–largest)': spread(values, digits) });
    console.error(JSON.stringify(rows.at(-1)));
  };
  for (const count of [1, 4, 16]) add(`${count} streams of one connection, MiB/s`, await rounds(() => streams(count)));
  add('a stream of a connection that is there, KiB at the other end', await rounds(streamMemory), 1);
  const sequential = await rounds(() => connections(false));
  const concurrent = await rounds(() => connections(true));
  add(
    'a connection with a stream, KiB at the other end',
    [...sequential, ...concurrent].map(({ kib }) => kib),
    1,
  );
  add(
    `${PEERS} connections, one after the other, ms`,
    sequential.map(({ ms }) => ms),
  );
  add(
    `${PEERS} connections at once, ms`,
    concurrent.map(({ ms }) => ms),
  );
  console.log(table(rows));
  process.exit();
}

await (process.argv[2] === 'child' ? child(process.argv[3]) : main());
