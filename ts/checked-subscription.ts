// A subscription whose payloads are checked against a schema when they are pulled: subscribers get what the schema makes of them.
// Does not queue: the subscription behind it does, so what waits there is unchecked, and what overflow drops was never checked.
// Invariants: order is kept, whether or not the schema answers at once; a payload that does not match is never given on, is counted,
// and is told of: to `onInvalid`, or as an error of the target.

import { onAbort } from './abort.js';
import { callBack, InvalidPayloadError } from './errors.js';
import { end, Stage, Upstream } from './operators/stage.js';
import type { StandardSchema } from './standard-schema.js';
import type { SubscribeOptions, Subscription } from './subscription.js';
import type { EventEnvelope } from './types.js';
import { check } from './validation.js';
import type { Acknowledgement } from './waiting.js';

/** What a checked subscription needs besides what it reads. */
interface Checking {
  readonly topic: string;
  readonly schema: StandardSchema;
  readonly options: SubscribeOptions;
  /** Tells of payloads that `onInvalid` is not there for. */
  raise(error: InvalidPayloadError): void;
}

/** Milliseconds between two errors about one subscription. Source: contract section 1 on malformed messages. */
const QUIET_MS = 1000;

export class CheckedSubscription extends Stage<EventEnvelope> implements Subscription<EventEnvelope> {
  readonly #inner: Subscription<EventEnvelope>;
  readonly #checking: Checking;
  readonly #forgetSignal: (() => void) | undefined;
  #invalid = 0;
  #untold = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(inner: Subscription<EventEnvelope>, checking: Checking) {
    const upstream = new Upstream(inner);
    super(
      () => this.#pullFrom(upstream),
      () => this.#leave(upstream),
    );
    this.#inner = inner;
    this.#checking = checking;
    const { signal } = checking.options;
    // Without it a schema that never answers would hold a next() beyond the abort.
    if (signal !== undefined) this.#forgetSignal = onAbort(signal, () => void this.return());
  }

  get dropped(): number {
    return this.#inner.dropped;
  }

  get invalid(): number {
    return this.#invalid;
  }

  get ready(): Promise<Acknowledgement> {
    return this.#inner.ready;
  }

  override [Symbol.asyncIterator](): this {
    return this;
  }

  async #pullFrom(upstream: Upstream<EventEnvelope>): Promise<IteratorResult<EventEnvelope, undefined>> {
    for (;;) {
      const result = await upstream.next();
      if (result.done === true) return this.#end();
      const { type, id, payload } = result.value;
      const checked = await check(this.#checking.schema, this.#checking.topic, payload);
      if (!(checked instanceof InvalidPayloadError))
        return { value: { type, id, payload: checked.value }, done: false };
      this.#reject(checked, result.value);
    }
  }

  #reject(error: InvalidPayloadError, envelope: EventEnvelope): void {
    this.#invalid++;
    const { onInvalid, invalid } = this.#checking.options;
    if (onInvalid !== undefined) callBack(() => onInvalid(error, envelope));
    if (invalid === 'throw') throw error;
    if (onInvalid === undefined) this.#raise(error);
  }

  #raise(error: InvalidPayloadError): void {
    this.#untold++;
    const now = Date.now();
    if (now - this.#toldAt < QUIET_MS) return;
    this.#toldAt = now;
    const { cause, issues } = error;
    this.#checking.raise(new InvalidPayloadError(this.#checking.topic, issues, { cause, dropped: this.#untold }));
    this.#untold = 0;
  }

  #end(): IteratorReturnResult<undefined> {
    this.#forgetSignal?.();
    return end();
  }

  async #leave(upstream: Upstream<EventEnvelope>): Promise<void> {
    this.#forgetSignal?.();
    await upstream.leave();
  }
}
