// The publishing spoke of the main job: sends each line of the input as one event, and an event that marks the end.
// Arguments: the address of the hub, the input ("-": standard input), "printing" when the subscribers print.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createPubSub } from '@alkdev/pubsub-native';
import { fail, follow, leave, now, tell, watch } from './child.mjs';
import { lineBatches } from './lines.mjs';
import { dial } from './links.mjs';

/** Bytes that may wait in the spoke before the next line. A guess: far more than one write, far less than a hub queues. */
const highWaterBytes = 1024 * 1024;

/** Bytes on their way to a subscriber that has not printed them: below what makes a hub call a connection slow (half of 1 MiB). */
const printWindowBytes = 256 * 1024;

/** Bytes of an envelope around the text of a line. */
const envelopeBytes = 96;

const [address, input, mode] = process.argv.slice(2);
follow({
  go: () => publishAll().catch((error) => fail(`line ${lines}: ${error.message}`)),
  printed({ through }) {
    const gone = unprinted.sizes.splice(0, through - unprinted.first + 1);
    for (const size of gone) unprinted.bytes -= size;
    unprinted.first += gone.length;
    unprinted.wake?.();
  },
  async stop() {
    await link.close();
    leave(losses);
  },
});

const link = await dial(address);
const spoke = link.target;
const pubsub = createPubSub({ eventTarget: spoke });
const losses = watch(spoke, 'publisher');
const hash = createHash('sha256');
let lines = 0;
let sent = 0;

/** Lines that not every subscriber has printed: their sizes, in order. A terminal may be slow, and printing blocks the subscriber. */
const unprinted = { first: 1, sizes: [], bytes: 0, wake: undefined };

async function publishAll() {
  const progress = setInterval(() => tell('progress', { lines, sent, ...losses }), 250);
  try {
    for await (const batch of lineBatches(input === '-' ? process.stdin : createReadStream(input))) {
      for (const text of batch) await publish(text);
    }
    pubsub.publish('end', 'main', { lines });
    await spoke.flush();
  } finally {
    clearInterval(progress);
  }
  tell('done', { lines, sent, digest: hash.digest('hex'), ...losses });
}

async function publish(text) {
  lines += 1;
  if (mode === 'printing') await roomOnTheTerminal(text);
  // flush() and not drain(): drain() waits for half of what the spoke can hold, which is much more.
  if (spoke.bufferedAmount > highWaterBytes) await spoke.flush();
  pubsub.publish('line', 'main', { n: lines, text, sentAt: now() });
  hash.update(text).update('\n');
  sent += 1;
}

async function roomOnTheTerminal(text) {
  const size = Buffer.byteLength(JSON.stringify(text)) + envelopeBytes;
  while (unprinted.bytes > 0 && unprinted.bytes + size > printWindowBytes) {
    await new Promise((resolve) => {
      unprinted.wake = resolve;
    });
  }
  unprinted.sizes.push(size);
  unprinted.bytes += size;
}

await spoke.ready();
tell('ready');
