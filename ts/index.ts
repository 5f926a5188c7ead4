// The public surface of the core, listed by hand. Imports no native code and no Node built-ins: it runs in browsers.

export {
  type ErrorCode,
  errorCodes,
  GapError,
  PubSubError,
  type PubSubErrorOptions,
  SlowConsumerError,
} from './errors.js';
export { createMemoryEventTarget } from './memory.js';
export { createPubSub, type PubSub, type PubSubOptions } from './pubsub.js';
export type { SubscribeOptions, Subscription } from './subscription.js';
export { createEvent, topic } from './topic.js';
export type {
  AnyEvent,
  CloseDetail,
  CloseOptions,
  EventEnvelope,
  EventOf,
  EventsAt,
  EventsOf,
  GapDetail,
  LifeCycleEvents,
  LinkState,
  NativeTarget,
  OpenDetail,
  ReconnectingDetail,
  TargetStats,
  TypedEvent,
  TypedEventListener,
  TypedEventTarget,
} from './types.js';
export type { Acknowledgement } from './waiting.js';
