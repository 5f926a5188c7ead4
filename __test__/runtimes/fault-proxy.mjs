// Every fault of the proxy once, over bare sockets. Run by smoke.test.mjs in Node.js, Deno and Bun; prints what the ends saw. Ends by itself.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createFaultProxy } from '@alkdev/pubsub-native/testing';

const server = createServer({ allowHalfOpen: true });
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const proxy = createFaultProxy({ to: { port: server.address().port }, seed: 1 });
await proxy.ready();
const seen = {};

/** A connection through the proxy: both its ends, with what came and how they ended. */
async function join() {
  const arrived = once(server, 'connection');
  const near = watch(connect({ port: proxy.port, host: proxy.host, allowHalfOpen: true }));
  const far = watch((await arrived)[0]);
  return { near, far };
}

function watch(socket) {
  const end = { socket, text: '', bytes: 0, how: '' };
  socket.on('data', (data) => {
    end.bytes += data.length;
    if (end.bytes < 100) end.text += data;
  });
  socket.on('end', () => {
    end.how = 'FIN';
  });
  socket.on('error', ({ code }) => {
    end.how = code;
  });
  return end;
}

async function until(isSo, what) {
  const deadline = Date.now() + 10_000;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error(`not within 10 s: ${what}; seen ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

for (const fault of ['cut', 'reset']) {
  const { near, far } = await join();
  proxy[fault]();
  await until(() => near.how !== '' && far.how !== '', `${fault}, near "${near.how}", far "${far.how}"`);
  seen[fault] = [near.how, far.how];
  near.socket.destroy();
  far.socket.destroy();
}

const { near, far } = await join();
proxy.stall('up');
const chunk = Buffer.alloc(64 << 10);
let sent = 0;
for (let isFull = false; !isFull && sent < 256 << 20; ) {
  sent += chunk.length;
  if (near.socket.write(chunk)) continue;
  isFull = await Promise.race([
    once(near.socket, 'drain').then(() => false),
    new Promise((resolve) => setTimeout(() => resolve(true), 300)),
  ]);
}
seen.stalled = { isPushedBack: sent < 64 << 20, came: far.bytes };
proxy.resume('up');
await until(() => far.bytes === sent, `all ${sent} bytes`);

proxy.delay(30, { jitterMs: 30, direction: 'down' });
for (let n = 0; n < 10; n++) {
  far.socket.write(`${n}`);
  await new Promise((resolve) => setTimeout(resolve, 3));
}
await until(() => near.text.length === 10, 'ten pieces');
seen.delayed = near.text;
proxy.delay(0);

proxy.halfClose('up');
await until(() => far.how === 'FIN', 'the end of one direction');
far.socket.write('!');
await until(() => near.text.endsWith('!'), 'the other direction');
seen.halfClosed = near.text;

proxy.refuse();
const refused = watch(connect({ port: proxy.port, host: proxy.host }));
await until(() => refused.how !== '', 'a refusal');
seen.refused = refused.how;

near.socket.destroy();
far.socket.destroy();
server.close();
await until(() => proxy.connections === 0, 'no connection is left');
await proxy.close();
console.log(JSON.stringify(seen));
