// Worker threads that are terminated with live targets in them and traffic under way, one after the other, several at a time. Prints a line for
// each that ended, so that a crash leaves the number. Usage: storm.mjs ROUNDS ours | storm.mjs ROUNDS control PATH-OF-THE-OFFICIAL-BINDING
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

const [rounds, kind, binding] = process.argv.slice(2);
const AT_A_TIME = 4;
/** Traffic goes on for so long in a worker that is ready; different for each, so that they end in different states. */
const lifeMs = (n) => n % 17;

const workerData = kind === 'ours' ? await ourHubs() : { binding };
const script = new URL(kind === 'ours' ? 'storm-worker.mjs' : 'storm-control.mjs', import.meta.url);
let started = 0;
let survived = 0;

async function lane() {
  while (started < Number(rounds)) {
    const n = started++;
    const worker = new Worker(script, { workerData });
    const [message] = await Promise.race([
      once(worker, 'message'),
      once(worker, 'error').then(([error]) => Promise.reject(error)),
    ]);
    if (message !== 'live') throw new Error(`worker ${n}: ${message}`);
    await new Promise((resolve) => setTimeout(resolve, lifeMs(n)));
    await worker.terminate();
    survived++;
    process.stdout.write(`${survived}\n`);
  }
}

/** Hubs of this thread that the workers' spokes are at; they publish without pause. */
async function ourHubs() {
  const [{ createEvent }, { createHub }, { Endpoint }, { createProcessEventTarget }] = await Promise.all([
    import('@alkdev/pubsub-native'),
    import('@alkdev/pubsub-native/hub'),
    import('@alkdev/pubsub-native/iroh'),
    import('@alkdev/pubsub-native/event-target-process'),
  ]);
  const endpoint = await Endpoint.createWithOptions({ bind: '127.0.0.1:0' });
  const hub = createHub({ relay: true, websocket: { listen: { port: 0 } }, iroh: { endpoint } });
  await hub.ready();
  const bus = createProcessEventTarget('storm');
  const event = createEvent('storm', '1', { text: 'x'.repeat(200) });
  setInterval(() => {
    for (const target of [hub, bus]) for (let n = 0; n < 20; n++) target.dispatchEvent(event);
  }, 1);
  return { url: hub.address.url, id: endpoint.nodeId(), sockets: endpoint.boundSockets() };
}

await Promise.all(Array.from({ length: AT_A_TIME }, lane));
process.stdout.write('done\n');
process.exit(0);
