// The worker of threads.mjs: answers a question, and tells of it on the bus.
import { createEvent } from '@alkdev/pubsub-native';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { createWorkerThreadEventTarget } from '@alkdev/pubsub-native/event-target-worker';

const bus = createProcessEventTarget('smoke');
const host = createWorkerThreadEventTarget();
host.addEventListener('question:1', ({ detail }) => {
  host.dispatchEvent(createEvent('answer', '1', detail.payload));
  bus.dispatchEvent(createEvent('news', '1', detail.payload));
});
