// The native functions of Redis, which an addon may have been built without. Does not load the addon (addon.ts) and does not wrap anything.
// Invariant: asking for them either brings them or throws the error that names the remedy. Importing this file does not ask: hubs, which can be
// joined without a Redis, import it.

import { addon, type Binding, unavailable } from './addon.js';
import { PubSubError } from './errors.js';

const REMEDY =
  'This addon was built without Redis (--no-default-features). The published packages have it; in a clone of the sources "npm run build" builds it with Redis, ' +
  '"cargo build" with the feature "redis". Hubs and spokes over WebSockets and the bus of a process work without, and so does a backplane of createProcessEventTarget.';

/** What makes targets at a Redis, and what joins hubs by one. */
export function redisAddon(): Pick<Binding, 'redisBackplane' | 'redisTarget'> {
  if (addon === undefined) throw unavailable;
  if (addon.redisTarget === undefined) throw new PubSubError('ERR_NATIVE_UNAVAILABLE', REMEDY);
  return addon;
}
