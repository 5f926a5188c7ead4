// The control: a worker with an endpoint of the official Iroh binding, and calls of it pending when the worker ends.
import { parentPort, workerData } from 'node:worker_threads';

const iroh = (await import(workerData.binding)).default ?? (await import(workerData.binding));
const bytesOf = (text) => [...Buffer.from(text)];

async function endpoint() {
  const builder = iroh.Endpoint.builder();
  builder.applyMinimal();
  builder.relayMode(iroh.RelayMode.disabled());
  builder.bindAddr('127.0.0.1:0');
  builder.alpns([bytesOf('storm/1')]);
  return builder.bind();
}

const [a, b] = [await endpoint(), await endpoint()];
for (const one of [a, b]) one.acceptNext?.().catch(() => {});
const address = new iroh.EndpointAddr(b.id(), null, [...b.boundSockets()]);
a.connect(address, bytesOf('storm/1')).catch(() => {});
parentPort.postMessage('live');
