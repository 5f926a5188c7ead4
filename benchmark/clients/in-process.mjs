// Publishing to one async iterator within a process. Arguments: variant, folder of the package. Command: { command: "run", burst, ms }.
// The reader publishes the next burst when it has read the last one, so that nothing else is measured; each event is counted and compared.

import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [variant, folder] = process.argv.slice(2);

const ours = async (targetOf) => {
  const core = await import(pathToFileURL(`${folder}/dist/index.js`).href);
  const { publish, subscribe } = core.createPubSub({ eventTarget: targetOf(core) });
  return { publish: (n) => publish('bench', 'x', n), events: subscribe('bench', 'x'), read: ({ payload }) => payload };
};

const makers = {
  ours: () => ours(() => undefined),
  'ours-event-target': () => ours(() => new EventTarget()),
  'ours-memory': () => ours(({ createMemoryEventTarget }) => createMemoryEventTarget()),
  async yoga() {
    const { createPubSub } = await import('@graphql-yoga/subscription');
    const { publish, subscribe } = createPubSub();
    return { publish: (n) => publish('bench', 'x', n), events: subscribe('bench', 'x'), read: (payload) => payload };
  },
};

const { publish, events, read } = await makers[variant]();
let [published, expected] = [0, 0];

async function run({ burst, ms }) {
  const [began, before] = [performance.now(), expected];
  const publishBurst = () => {
    for (let n = 0; n < burst; n++) publish(published++);
  };
  // This iterator listens from its first pull on.
  const first = events.next();
  publishBurst();
  for (let { value } = await first; ; { value } = await events.next()) {
    if (read(value) !== expected++) throw new Error(`expected event ${expected - 1}, got ${read(value)}`);
    if (expected < published) continue;
    if (performance.now() - began >= ms) break;
    publishBurst();
  }
  return { events: expected - before, ms: performance.now() - began };
}

const answer = (fields) => process.stdout.write(`${JSON.stringify(fields)}\n`);
createInterface({ input: process.stdin })
  .on('line', async (line) => answer(await run(JSON.parse(line))))
  .on('close', () => process.exit());
answer({});
