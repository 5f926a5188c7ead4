// A hub and its spokes as processes of their own, with direct connections on loopback: no server of any kind.
import { runMainJob } from '../main-job/main.mjs';

export const direct = {
  title: 'hub and spokes over Iroh, direct',
  run: (options) => runMainJob({ ...options, transport: 'iroh' }),
};
