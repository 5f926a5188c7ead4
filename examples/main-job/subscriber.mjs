// A subscribing spoke of the main job: prints each line, and checks number, order and content.
// Arguments: the address of the hub, its name, "printing" or "quiet".
import { createHash } from 'node:crypto';
import { follow, leave, now, tell, topic, watch } from './child.mjs';
import { LatencyHistogram } from './latency.mjs';
import { dial } from './links.mjs';

const [address, name, mode] = process.argv.slice(2);
follow({
  async stop() {
    clearInterval(progress);
    await link.close();
    leave(losses);
  },
});

const link = await dial(address);
const spoke = link.target;
const losses = watch(spoke, `subscriber ${name}`);
const hash = createHash('sha256');
const latency = new LatencyHistogram();
let received = 0;
/** Lines that came when another was due: late, twice, or after missing ones. */
let misplaced = 0;
let due = 1;
let unprinted = '';

const report = () => ({ received, misplaced, latency: latency.takeCounts(), ...losses });
const progress = setInterval(() => tell('progress', report()), 250);

spoke.addEventListener(topic.line, (event) => {
  const { n, text, sentAt } = event.detail.payload;
  received += 1;
  if (n !== due) misplaced += 1;
  due = Math.max(due, n) + 1;
  hash.update(text).update('\n');
  latency.add(now() - sentAt);
  if (mode === 'printing') print(text);
});

spoke.addEventListener(topic.end, () => {
  clearInterval(progress);
  tell('done', { ...report(), digest: hash.digest('hex') });
});

/** Prints what one turn brought in one write, and tells the parent how far it got. */
function print(text) {
  if (unprinted === '') setImmediate(printAll);
  unprinted += `[${name}] ${text}\n`;
}

function printAll() {
  const through = due - 1;
  const text = unprinted;
  unprinted = '';
  process.stdout.write(text, () => tell('printed', { through }));
}

await Promise.all([spoke.ready(topic.line), spoke.ready(topic.end)]);
tell('ready');
