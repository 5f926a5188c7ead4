// Peer to peer in parts, each the main job over other links: the same input, the same check. Does not know what a part does.
import { direct } from './direct.mjs';
import { relayed } from './relayed.mjs';
import { swarm } from './swarm.mjs';

/** In the order in which they run: `{ title, run(options) }`; `run` resolves with what went wrong, or null. */
export const parts = [direct, relayed, swarm];
