// What the Redis tests share: targets at a server, and what is known of them. Waiting for facts is in websocket/facts.mjs.
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { createEvent } from '../../dist/index.js';
import { Log } from '../websocket/facts.mjs';

/** Reconnects fast: tests wait for each. */
export const quick = { minDelayMs: 1, maxDelayMs: 20 };

/** A target that is closed with the test. */
export function makeTarget(t, server, options = {}) {
  const target = createRedisEventTarget({ url: server.url, reconnect: quick, ...options });
  t.after(() => target.close({ timeoutMs: 1000 }));
  return target;
}

/** A target at several servers that is closed with the test, and everything it tells. Gives them time to agree on what has changed. */
export function makeWatched(t, options) {
  const target = createRedisEventTarget({ reconnect: { minDelayMs: 1, maxDelayMs: 200 }, ...options });
  t.after(() => target.close({ timeoutMs: 1000 }));
  return { target, ...watch(target) };
}

/** Everything that the life cycle tells, in order. */
export function watch(target) {
  const log = new Log();
  for (const name of ['open', 'reconnecting', 'gap', 'error', 'close'])
    target.addEventListener(name, ({ detail }) => log.push({ name, detail }));
  const all = (name) => log.entries.filter((entry) => entry.name === name).map((entry) => entry.detail);
  return { log, all };
}

export function publish(target, type, id, payload) {
  target.dispatchEvent(createEvent(type, id, payload));
}
