// A Redis that answers as the test says: what a well-behaved one never does. Knows no tests.
import { once } from 'node:events';
import { createServer } from 'node:net';

const bulk = (text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;

/** What a Redis answers; nothing where `answer` has taken the matter into its own hands. */
export function usual([name, ...words]) {
  if (name === 'PING') return '+PONG\r\n';
  if (name === 'PUBLISH') return ':0\r\n';
  if (name === 'SUBSCRIBE' || name === 'UNSUBSCRIBE') return `*3\r\n${bulk(name.toLowerCase())}${bulk(words[0])}:1\r\n`;
  return '+OK\r\n';
}

export const message = (channel, text) => `*3\r\n${bulk('message')}${bulk(channel)}${bulk(text)}`;

/**
 * Starts one; `answer(words, socket)` says what is written for a command: a text, or nothing. Ends with the test.
 */
export async function startFake(t, answer = usual) {
  const sockets = new Set();
  const fake = { url: '', accepted: 0, sockets };
  const server = createServer((socket) => {
    fake.accepted += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    let held = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk]);
      for (let read = readCommand(held); read !== null; read = readCommand(held)) {
        held = held.subarray(read.end);
        const said = answer(read.words, socket);
        if (said !== undefined && socket.writable) socket.write(said);
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  fake.url = `redis://127.0.0.1:${server.address().port}`;
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  });
  return fake;
}

function readCommand(bytes) {
  const line = (at) => {
    const end = bytes.indexOf('\r\n', at);
    return end < 0 ? null : { value: Number(bytes.toString('latin1', at + 1, end)), end: end + 2 };
  };
  const count = line(0);
  if (count === null) return null;
  const words = [];
  let at = count.end;
  for (let index = 0; index < count.value; index++) {
    const length = line(at);
    if (length === null || bytes.length < length.end + length.value + 2) return null;
    words.push(bytes.toString('utf8', length.end, length.end + length.value));
    at = length.end + length.value + 2;
  }
  return { words, end: at };
}
