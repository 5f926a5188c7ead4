import { Endpoint } from '@alkdev/pubsub-native/iroh';
import { createIrohHubEventTarget } from '@alkdev/pubsub-native/event-target-iroh-hub';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
for (const bind of ['127.0.0.1:0', undefined]) {
  const a = await Endpoint.createWithOptions({ ...(bind && {bind}) });
  const hub = await createIrohHubEventTarget({ endpoint: a, anyone: true });
  const b = await Endpoint.createWithOptions({ ...(bind && {bind}), addresses: [a.ticket()] });
  const spoke = await createIrohSpokeEventTarget({ endpoint: b, hubNodeId: a.nodeId() });
  spoke.addEventListener('error', () => {}); hub.addEventListener('error', () => {});
  await new Promise((r) => setTimeout(r, 300));
  console.log(b.paths(a.nodeId()));
  let t = performance.now();
  await a.close();
  console.log(bind, 'hub endpoint with open link', performance.now() - t);
  t = performance.now();
  await b.close();
  console.log(bind, 'spoke endpoint', performance.now() - t);
}
process.exit(0);
