// What must compile and what must not: the factory of the Redis target. Checked by tsc, never run.

import type { TypedEventTarget as YogaTarget } from '@graphql-yoga/typed-event-target';
import { createRedisEventTarget } from '../../ts/event-target-redis.js';
import { createHub } from '../../ts/hub.js';
import { createPubSub, type EventsOf, type NativeTarget } from '../../ts/index.js';

interface Events {
  'chat.msg': { n: number };
}

type Event = EventsOf<Events>;

declare function expect<T>(value: T): void;

const target = createRedisEventTarget<Event>({
  url: () => 'redis://127.0.0.1',
  password: async () => 'fresh',
  prefix: 'app:',
  tls: { insecure: true },
  echo: false,
  reconnect: { minDelayMs: 1 },
  limits: { maxMessageBytes: 1 },
});
expect<NativeTarget<Event>>(target);
expect<YogaTarget<Event>>(target);
createPubSub<Events>({ eventTarget: target }).publish('chat.msg', 'r1', { n: 1 });
target.addEventListener('chat.msg:r1', ({ detail }) => expect<number>(detail.payload.n));

// @ts-expect-error: there must be a server
createRedisEventTarget({});
// @ts-expect-error: no hub says hello
createRedisEventTarget({ url: 'redis://h', peer: 'plain' });
// @ts-expect-error: no connection ends for malformed messages
createRedisEventTarget({ url: 'redis://h', limits: { maxMalformed: 1 } });

createRedisEventTarget({
  sentinels: [{ host: 'h' }, 'redis://h'],
  serviceName: 's',
  sentinelPassword: async () => 'x',
  tls: {},
});
createRedisEventTarget({ nodes: [new URL('redis://h')], sharded: true, username: 'me', password: () => 'x' });
// @ts-expect-error: whose master it is must be said
createRedisEventTarget({ sentinels: ['redis://h'] });

createHub({ backplane: target });
createHub({ backplane: { nodes: ['redis://h'], sharded: true, prefix: 'app:' } });
createHub({ backplane: { url: 'redis://h', prefix: 'app:', reconnect: { minDelayMs: 1 } } });
// @ts-expect-error: a hub hears itself or not by its own option
createHub({ backplane: { url: 'redis://h', echo: true } });
