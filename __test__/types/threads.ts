// What must compile and what must not: the factories of thread targets. Checked by tsc, never run.

import { Worker as ThreadWorker } from 'node:worker_threads';
import type { TypedEventTarget as YogaTarget } from '@graphql-yoga/typed-event-target';
import { createProcessEventTarget } from '../../ts/event-target-process.js';
import { createWorkerHostEventTarget, createWorkerThreadEventTarget } from '../../ts/event-target-worker.js';
import { createHub } from '../../ts/hub.js';
import { createPubSub, type EventsOf, type NativeTarget } from '../../ts/index.js';

interface Events {
  'chat.msg': { n: number };
}

type Event = EventsOf<Events>;

declare function expect<T>(value: T): void;
declare const port: MessagePort;

const bus = createProcessEventTarget<Event>('name', { echo: true, maxPendingBytes: 1, limits: { maxMessageBytes: 1 } });
expect<NativeTarget<Event>>(bus);
expect<YogaTarget<Event>>(bus);
createPubSub<Events>({ eventTarget: bus }).publish('chat.msg', 'r1', { n: 1 });
bus.addEventListener('chat.msg:r1', ({ detail }) => expect<number>(detail.payload.n));
bus.addEventListener('gap', ({ detail }) => expect<number | undefined>(detail.dropped));

for (const target of [
  createWorkerHostEventTarget<Event>(new ThreadWorker('x')),
  createWorkerHostEventTarget<Event>(new Worker('x'), { signal: AbortSignal.timeout(1) }),
  createWorkerHostEventTarget<Event>(port),
  createWorkerThreadEventTarget<Event>({ maxBufferedAmount: 1 }),
]) {
  expect<NativeTarget<Event>>(target);
  target.addEventListener('chat.msg:r1', ({ detail }) => expect<number>(detail.payload.n));
}

createHub<Event>({ backplane: bus });
// @ts-expect-error: a worker target joins no hubs
createHub<Event>({ backplane: createWorkerThreadEventTarget<Event>() });

// @ts-expect-error: a bus has a name
createProcessEventTarget();
// @ts-expect-error: a bus has no heartbeat
createProcessEventTarget('name', { limits: { heartbeatMs: 1 } });
// @ts-expect-error: a worker can be posted to
createWorkerHostEventTarget({});
// @ts-expect-error: the type of a payload
createPubSub<Events>({ eventTarget: bus }).publish('chat.msg', 'r1', { n: 'one' });
