// A hub and its spokes without sockets of their own: everything goes through a relay, a process of this machine that the part starts.
import { runMainJob } from '../main-job/main.mjs';
import { startRelay, withoutRelay } from './relay-server.mjs';

export const relayed = {
  title: 'hub and spokes over Iroh, through a relay alone',
  async run(options) {
    if (withoutRelay) return withoutRelay;
    const relay = await startRelay();
    try {
      const problem = await runMainJob({ ...options, transport: `relay:${relay.url}` });
      process.stdout.write(`bytes through the relay      ${await relay.relayed()}\n`);
      return problem;
    } finally {
      await relay.stop();
    }
  },
};
