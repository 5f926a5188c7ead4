// Attacks with frames: against the rules, too large by what they claim, too many, too slow, never finished.
import { BINARY, CLOSE, closeFrame, envelope, frame, PING, PONG, Raw, sleep, TEXT, until } from './raw.mjs';

const MIB = 1 << 20;

/** Each of these ends the connection with the code, at once: what follows is never waited for. */
const broken = [
  ['an unmasked frame', [frame(TEXT, '{}', { masked: false })], [1002]],
  ...[1, 2, 4, 7].map((reserved) => [`reserved bits ${reserved}`, [frame(TEXT, '{}', { reserved })], [1002]]),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`opcode ${opcode}`, [frame(opcode, 'x')], [1002]]),
  ['a ping of 126 bytes', [frame(PING, 'x'.repeat(126))], [1002]],
  ['a ping in fragments', [frame(PING, 'x', { fin: false })], [1002]],
  ['a close frame in fragments', [frame(CLOSE, '', { fin: false })], [1002]],
  ['a continuation of nothing', [frame(0, 'x')], [1002]],
  ['a message within a message', [frame(TEXT, '{', { fin: false }), frame(TEXT, '}')], [1002]],
  ['text that is not UTF-8', [frame(TEXT, Buffer.from([0xff, 0xfe]))], [1007]],
  ['text cut within a character', [frame(TEXT, Buffer.from([0xe2, 0x82]))], [1007]],
  ...['2147483647', '2147483648', '4294967295', '4294967296', '9007199254740993'].map((length) => [
    `a length of ${length}`,
    [frame(TEXT, '{', { length })],
    [1009],
  ]),
  ['a length of 2^63', [frame(TEXT, '{', { length: 1n << 63n })], [1002, 1009]],
  ['a length of 2^64 - 1', [frame(TEXT, '{', { length: (1n << 64n) - 1n })], [1002, 1009]],
  ['a length one above the limit', [frame(TEXT, '{', { length: MIB + 1 })], [1009]],
  ['fragments one byte above the limit', [frame(TEXT, 'x'.repeat(MIB), { fin: false }), frame(0, 'x')], [1009]],
  ['a ping of 2^63 bytes', [frame(PING, '', { length: 1n << 63n })], [1002]],
];

async function rules({ port, scale }) {
  const times = Math.max(1, Math.round(3 * scale));
  await Promise.all(broken.flatMap((kind) => Array.from({ length: times }, () => breaks(port, ...kind))));
  return `${broken.length} kinds, each closed with its code`;
}

/** Says something and is closed with one of the codes. */
async function breaks(port, what, bytes, codes) {
  const client = await Raw.open(port);
  client.write(Buffer.concat(bytes));
  await client.closes(...codes).catch((error) => {
    throw new Error(`${what}: ${error.message}`);
  });
  client.destroy();
}

async function closeCodes({ port }) {
  const wrong = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2999, 5000, 65_535];
  const right = [1000, 1001, 1003, 1007, 1011, 3000, 4999];
  // Whatever follows a close frame is not read.
  const behind = [frame(TEXT, '{'), frame(TEXT, 'x', { reserved: 7 }), closeFrame(0)];
  const half = [Buffer.from([3]), Buffer.from([3, 0xe8, 0xff, 0xfe])];
  await Promise.all([
    ...wrong.map((code) => breaks(port, `close with ${code}`, [closeFrame(code)], [1002])),
    ...right.map((code) => breaks(port, `close with ${code}`, [closeFrame(code, 'bye'), ...behind], [code])),
    ...half.map((payload) => breaks(port, 'half a code or character', [frame(CLOSE, payload)], [1002, 1007])),
    breaks(port, 'close without a code', [frame(CLOSE)], [1000, 1005]),
  ]);
  return `${wrong.length} codes refused with 1002, ${right.length} answered, half ones refused`;
}

async function fragmentFlood({ port }) {
  const empty = await Raw.open(port);
  const pieces = frame(0, '', { fin: false });
  empty.write(Buffer.concat([frame(TEXT, '', { fin: false }), ...Array.from({ length: 20_000 }, () => pieces)]));
  await empty.closes(1008);
  const single = await Raw.open(port);
  const bytes = frame(0, 'x', { fin: false });
  single.write(Buffer.concat([frame(TEXT, '"', { fin: false }), ...Array.from({ length: 20_000 }, () => bytes)]));
  await single.closes(1008);
  empty.destroy();
  single.destroy();
  return '20 000 empty and 20 000 fragments of one byte: closed with 1008';
}

/** Pings whose answers are read come back all; those that nobody reads do not pile up for ever. */
async function controlFlood({ port, scale }) {
  const count = Math.round(100_000 * scale);
  const reading = await Raw.open(port, { keeps: false });
  const pings = Buffer.concat(Array.from({ length: 1000 }, () => frame(PING, 'x'.repeat(100))));
  for (let n = 0; n < count; n += 1000) await reading.push(pings);
  await until(() => reading.received >= count || reading.hasEnded, `${count} pongs`, 60_000);
  if (reading.hasEnded) throw new Error(`closed with ${reading.closeCode} after ${reading.received} of ${count} pongs`);
  const pongs = Buffer.concat(Array.from({ length: 1000 }, () => frame(PONG, 'unasked')));
  for (let n = 0; n < count; n += 1000) await reading.push(pongs);
  reading.destroy();
  return `${count} pings answered, as many unasked pongs ignored`;
}

async function unreadPongs({ port, scale, hub }) {
  const clients = await Promise.all(Array.from({ length: 20 }, () => Raw.open(port)));
  const pings = Buffer.concat(Array.from({ length: 4000 }, () => frame(PING, 'x'.repeat(125))));
  let sent = 0;
  const attack = async (client) => {
    client.socket.pause();
    for (let n = 0; n < 40 * scale && !client.socket.destroyed; n++) {
      sent += pings.length;
      const isTaken = await Promise.race([client.push(pings), sleep(3000).then(() => undefined)]);
      // Not taken: the hub reads no more of somebody who does not read.
      if (isTaken !== true) break;
    }
  };
  await Promise.all(clients.map(attack));
  const peak = hub.memory().resident;
  for (const client of clients) client.destroy();
  return `${Math.round(sent / MIB)} MiB of pings from 20 clients that read no answer; hub at ${Math.round(peak / MIB)} MiB`;
}

/** Half a frame, then a byte now and then: each may stay, and costs what it has sent. */
async function slowFrames({ port, sockets }) {
  const clients = await Promise.all(Array.from({ length: sockets }, () => Raw.open(port)));
  const whole = frame(TEXT, envelope('attack', 'slow', 'x'.repeat(60_000)));
  for (let n = 0; n < 100; n++) {
    for (const client of clients) client.write(whole.subarray(n, n + 1));
    await sleep(20);
  }
  const gone = clients.filter(({ hasEnded }) => hasEnded).length;
  for (const client of clients) client.destroy();
  return `${sockets} sockets, a byte each 20 ms for 2 s; ${gone} were closed meanwhile`;
}

/** Half a frame, then silence: not even pings are answered. */
async function deadFrames({ port, sockets, limits }) {
  const options = { answersPings: false };
  const clients = await Promise.all(Array.from({ length: sockets }, () => Raw.open(port, options)));
  for (const client of clients)
    client.write(frame(TEXT, envelope('attack', 'dead', 'x'.repeat(5000))).subarray(0, 3000));
  const began = performance.now();
  const deadMs = 2.5 * limits.heartbeatMs;
  await until(() => clients.every(({ hasEnded }) => hasEnded), 'the end of all that are silent', 2 * deadMs + 10_000);
  const ms = Math.round(performance.now() - began);
  for (const client of clients) client.destroy();
  return `${sockets} sockets, all gone after ${ms} ms (2.5 heartbeats: ${deadMs})`;
}

/** Many halves of the largest message: together they may cost `maxInboundBytes`, and the largest goes with 1009. */
async function halfMessages({ port, halves, hub, skip }) {
  const { count, bound } = halves;
  if (hub.unknown !== undefined) return skip(`this version does not know maxInboundBytes: ${hub.unknown}`);
  const half = MIB >> 1;
  const clients = [];
  const before = hub.memory().resident;
  let peak = 0;
  for (let n = 0; n < count; n += 20) {
    const some = await Promise.all(Array.from({ length: Math.min(20, count - n) }, () => Raw.open(port)));
    clients.push(...some);
    // The claim is of the whole message, so that none of them is ever complete.
    const bytes = frame(TEXT, 'x'.repeat(half), { length: MIB });
    await Promise.all(some.map((client) => client.push(bytes)));
    peak = Math.max(peak, hub.memory().resident);
  }
  const kept = () => clients.filter(({ hasEnded }) => !hasEnded).length;
  await until(() => kept() * half <= bound, `no more than ${bound} bytes of halves are kept, not ${kept() * half}`);
  await sleep(100);
  const [left, codes] = [kept(), new Set(clients.filter(({ hasEnded }) => hasEnded).map(({ closeCode }) => closeCode))];
  for (const client of clients) client.destroy();
  if (left === 0) throw new Error('all were closed, the bound is far below what it says');
  if ([...codes].some((code) => code !== 1009)) throw new Error(`closed with ${[...codes].join(', ')}, expected 1009`);
  const grown = peak - before;
  if (grown > 1.5 * bound + 64 * MIB) throw new Error(`the hub grew by ${Math.round(grown / MIB)} MiB`);
  return `${count} halves of 1 MiB: ${count - left} closed with 1009, ${left} stayed`;
}

/** What was agreed on earlier is no excuse: a binary message of garbage is skipped, the connection stays. */
async function binary({ port }) {
  const client = await Raw.open(port);
  client.write(frame(BINARY, Buffer.from([0xff, 0xfe, 0])));
  client.write(frame(BINARY, envelope('attack', 'heard', 'binary')));
  await client.settles();
  client.destroy();
  return 'skipped; the one behind it was understood';
}

export const frames = {
  'frames against the rules': rules,
  'close codes': closeCodes,
  'fragment flood': fragmentFlood,
  'control flood': controlFlood,
  'pings, answers not read': unreadPongs,
  'slowloris, frames': slowFrames,
  'half frames, then silence': deadFrames,
  'half messages': halfMessages,
  'binary garbage': binary,
};
