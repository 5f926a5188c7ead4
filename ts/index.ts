// The public surface of the core, listed by hand. Imports no native code and no Node built-ins: it runs in browsers.

export {
  type ErrorCode,
  errorCodes,
  GapError,
  InvalidPayloadError,
  PubSubError,
  type PubSubErrorOptions,
  SlowConsumerError,
} from './errors.js';
export { createMemoryEventTarget } from './memory.js';
export { type BatchOptions, batch, window } from './operators/batch.js';
export { reduce, toArray } from './operators/collect.js';
export { type GroupByOptions, groupBy } from './operators/group-by.js';
export { chain, type ItemOf, join } from './operators/merge.js';
export { pipe } from './operators/pipe.js';
export { type DedupeOptions, dedupe, filter, take } from './operators/select.js';
export type { Operator, Sink, Stream } from './operators/stage.js';
export { type FlatItem, flat, map } from './operators/transform.js';
export { withPayloadDetail } from './payload-detail.js';
export {
  createPubSub,
  type PubSub,
  type PubSubOptions,
  type ReceivedOf,
  type SchemaPubSubOptions,
  type Validate,
} from './pubsub.js';
export type {
  InputsOf,
  OutputsOf,
  SchemaMap,
  StandardIssue,
  StandardResult,
  StandardSchema,
} from './standard-schema.js';
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
