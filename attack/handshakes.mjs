// Attacks on the way in: heads that are wrong, too large or too slow, and connections that are never finished.
import { head, Raw, sleep, until } from './raw.mjs';

const key = (value) => ({ headers: { 'Sec-WebSocket-Key': value } });

/** Wrong heads and what they are answered with. */
const wrongHeads = [
  ['no key', key(undefined), 400],
  ['an empty key', key(''), 400],
  ['no Connection', { headers: { Connection: undefined } }, [400, 426]],
  ['no Upgrade', { headers: { Upgrade: undefined } }, 426],
  ['another upgrade', { headers: { Upgrade: 'h2c' } }, [400, 426]],
  ['version 8', { headers: { 'Sec-WebSocket-Version': '8' } }, [400, 426]],
  ['version 13, 14', { headers: { 'Sec-WebSocket-Version': '13, 14' } }, [400, 426]],
  ['no Host', { headers: { Host: undefined } }, [400, 101]],
  ['method POST', { method: 'POST' }, [400, 405, 426]],
  ['HTTP/1.0', { version: 'HTTP/1.0' }, [400, 426]],
  ['HTTP/9.9', { version: 'HTTP/9.9' }, 400],
  ['a foreign origin', { headers: { Origin: 'https://evil.example' } }, 403],
  ['a name of DNS rebinding', { headers: { Origin: 'http://evil.example:80', Host: 'evil.example:80' } }, 403],
  ['a line without a colon', { more: 'nonsense\r\n' }, 400],
  ['a space before the colon', { more: 'a : b\r\n' }, 400],
  ['a zero byte in a header', { more: 'a: b\0c\r\n' }, 400],
  ['a zero byte in the path', { path: '/\0' }, 400],
  ['a path with spaces', { path: '/a b c' }, 400],
  ['65 header lines', { more: 'a: b\r\n'.repeat(60) }, 431],
  ['a header line of 16 KiB', { more: `a: ${'x'.repeat(16 << 10)}\r\n` }, 431],
  ['a path of 16 KiB', { path: `/${'x'.repeat(16 << 10)}` }, 431],
];

async function wrong({ port, scale }) {
  for (const [what, changes, status] of wrongHeads) {
    const times = Math.max(1, Math.round(10 * scale));
    const clients = await Promise.all(Array.from({ length: times }, () => Raw.connect(port)));
    for (const client of clients) client.write(head(port, changes));
    for (const client of clients) {
      await client.status(status).catch((error) => {
        throw new Error(`${what}: ${error.message}`);
      });
      if (!client.answer.startsWith('HTTP/1.1 101')) await client.ends();
      client.destroy();
    }
  }
  return `${wrongHeads.length} kinds, each refused with its status`;
}

async function badKeys({ port, scale }) {
  const keys = ['short', 'x'.repeat(24), '====', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', '\u00ff\u00fe'];
  let accepted = 0;
  for (let n = 0; n < 100 * scale; n++) {
    const client = await Raw.connect(port);
    client.write(head(port, key(keys[n % keys.length])));
    // RFC 6455 leaves it to the server whether it decodes the key; it must not matter for anybody else.
    if ((await client.status([101, 400])) === 101) accepted++;
    client.destroy();
  }
  return `${accepted} of ${100 * scale} accepted, none to anybody's harm`;
}

async function headerFlood({ port, scale }) {
  let sent = 0;
  for (let n = 0; n < 20 * scale; n++) {
    const client = await Raw.connect(port);
    client.write(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\na: `);
    const chunk = Buffer.alloc(64 << 10, 'x');
    for (let times = 0; times < 64 && !client.hasEnded && (await client.push(chunk)); times++) sent += chunk.length;
    await client.ends();
    client.destroy();
  }
  return `${(sent / 2 ** 20).toFixed(1)} MiB of one header line without an end`;
}

async function garbage({ port, scale, random }) {
  for (let n = 0; n < 100 * scale; n++) {
    const client = await Raw.connect(port);
    // The hello of TLS, a request of HTTP/2, anything.
    const starts = [
      Buffer.from([0x16, 3, 1, 2, 0, 1, 0]),
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      Buffer.alloc(0),
    ];
    const noise = Buffer.from(Array.from({ length: 2000 }, () => random(256)));
    client.write(Buffer.concat([starts[n % 3], noise, Buffer.from('\r\n\r\n')]));
    await client.ends();
    client.destroy();
  }
  return 'closed, every time';
}

/** Heads that never end, a byte at a time. */
async function slowHeads({ port, sockets, limits }) {
  const clients = await Promise.all(Array.from({ length: sockets }, () => Raw.connect(port)));
  const bytes = head(port, { headers: { 'X-Slow': 'x'.repeat(8000) } });
  const began = performance.now();
  for (let n = 0; clients.some(({ hasEnded }) => !hasEnded); n++) {
    for (const client of clients) if (!client.hasEnded) client.write(bytes[n]);
    await sleep(20);
    if (performance.now() - began > limits.handshakeMs + 15_000) throw new Error('they are still there');
  }
  const ms = Math.round(performance.now() - began);
  for (const client of clients) {
    await client.status(408);
    client.destroy();
  }
  return `${sockets} sockets, all answered with 408 by ${ms} ms (handshakeMs ${limits.handshakeMs})`;
}

/** Connections that say nothing at all, many at once. */
async function silentFlood({ port, scale }) {
  const count = Math.round(2000 * scale);
  const clients = [];
  for (let n = 0; n < count; n += 100)
    clients.push(...(await Promise.all(Array.from({ length: Math.min(100, count - n) }, () => Raw.connect(port)))));
  await until(() => clients.every(({ hasEnded }) => hasEnded), 'the end of all that say nothing', 30_000);
  for (const client of clients) client.destroy();
  return `${count} connections without a word, all closed`;
}

/** Connections that come, are let in and are reset at once, again and again. */
async function connectFlood({ port, scale }) {
  const count = Math.round(3000 * scale);
  for (let n = 0; n < count; n += 50) {
    const clients = await Promise.all(Array.from({ length: 50 }, () => Raw.open(port)));
    for (const client of clients) client.reset();
  }
  return `${count} handshakes, each reset as soon as it was done`;
}

export const handshakes = {
  'wrong heads': wrong,
  'bad keys': badKeys,
  'header flood': headerFlood,
  'no HTTP at all': garbage,
  'slowloris, heads': slowHeads,
  'silent connections': silentFlood,
  'connect and reset': connectFlood,
};
