// Hubs behind the servers of others in the conformance suites: attached, pumped, and over WebSockets of other libraries.
import { createWebSocketClientEventTarget } from '../../dist/event-target-websocket-client.js';
import { arrangements } from '../servers/arrangements.mjs';
import { conformance } from './index.mjs';
import { permissionMatrix } from './permissions.mjs';

const capabilities = { transport: true, echo: false, acknowledges: true };

for (const [name, arrange] of Object.entries(arrangements)) {
  conformance(
    `two spokes at a relaying hub: ${name}`,
    async () => {
      const net = await arrange({ relay: true });
      const [a, b] = [net.url, net.url].map((url) => createWebSocketClientEventTarget(url, net.spoke));
      const close = async () => {
        await Promise.all([a.close(), b.close()]);
        await net.close();
      };
      return { a, b, close };
    },
    capabilities,
  );

  conformance(
    `a hub towards its spoke: ${name}`,
    async () => {
      const net = await arrange({});
      const b = createWebSocketClientEventTarget(net.url, net.spoke);
      const close = async () => {
        await b.close();
        await net.close();
      };
      return { a: net.hub, b, close };
    },
    capabilities,
  );

  permissionMatrix(name, async (options) => {
    const net = await arrange(options);
    await net.hub.ready();
    const targets = [];
    const spoke = () => {
      const target = createWebSocketClientEventTarget(net.url, net.spoke);
      targets.push(target);
      return target;
    };
    const close = async () => {
      await Promise.all(targets.map((target) => target.close()));
      await net.close();
    };
    return { hub: net.hub, spoke, close };
  });
}
