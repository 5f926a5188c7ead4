// The thread of esm.mjs: answers what it hears.
import { createEvent } from '@alkdev/pubsub-native';
import { createWorkerThreadEventTarget } from '@alkdev/pubsub-native/event-target-worker';

const target = createWorkerThreadEventTarget();
target.addEventListener('greeting:all', ({ detail }) =>
  target.dispatchEvent(createEvent('answer', 'all', detail.payload)),
);
