// The clients that an attack must not hurt: a spoke of ours and a plain client, connected through all attacks, in a process of their own.
// Argument: url of the hub. Says after each attack how long a beat, a round trip and a new connection took, and what went wrong meanwhile.
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { envelope, Raw, subscribe, until } from './raw.mjs';

const [, , url] = process.argv;
const port = Number(new URL(url).port);
const trouble = [];
const native = createWebSocketClientEventTarget(url);
for (const name of ['reconnecting', 'gap', 'error', 'close'])
  native.addEventListener(name, ({ detail }) =>
    trouble.push(`the spoke: ${name} ${detail.cause?.message ?? detail.message ?? JSON.stringify(detail)}`),
  );
let lastAt = performance.now();
let longestMs = 0;
native.addEventListener('health:beat', () => {
  const now = performance.now();
  longestMs = Math.max(longestMs, now - lastAt);
  lastAt = now;
});
let answer;
native.addEventListener('health:answer', ({ detail }) => {
  answer = detail.payload;
});
await native.ready('health:answer');
const plain = await join(port);
plain.closed.then(() => trouble.push(`the plain client: closed with ${plain.closeCode}`));

async function check(n) {
  const began = performance.now();
  const beat = lastAt;
  native.dispatchEvent(createEvent('health', 'question', n));
  plain.frames.length = 0;
  await until(() => lastAt > beat && answer === n, 'a beat and an answer at the spoke');
  const spokeMs = performance.now() - began;
  plain.say(envelope('health', 'question', `plain ${n}`));
  await plain.hears((text) => text.includes(`"plain ${n}"`), 'an answer at the plain client');
  const plainMs = performance.now() - began - spokeMs;
  const fresh = await join(port);
  await fresh.hears((text) => text.includes('"beat"'), 'a beat at a new connection');
  fresh.destroy();
  const freshMs = performance.now() - began - spokeMs - plainMs;
  return { spokeMs, plainMs, freshMs };
}

process.on('message', async ({ kind, n }) => {
  if (kind === 'begin') {
    [lastAt, longestMs] = [performance.now(), 0];
    return process.send({ kind });
  }
  try {
    const times = await check(n);
    process.send({ kind, times, longestMs, trouble: trouble.splice(0) });
  } catch (error) {
    process.send({ kind, failure: error.message, longestMs, trouble: trouble.splice(0) });
  }
});
process.on('disconnect', () => process.exit(1));
process.send({ kind: 'ready' });

/** A plain client that hears beats and answers. */
async function join(port) {
  const client = await Raw.open(port);
  client.write(Buffer.concat([subscribe('health:beat'), subscribe('health:answer')]));
  return client;
}
