// No hub: publisher, subscribers and a first member, whom the others name when they join, pass events on to each other.
import { runMainJob } from '../main-job/main.mjs';

export const swarm = {
  title: 'a swarm without a hub',
  run: (options) => runMainJob({ ...options, transport: 'gossip' }),
};
