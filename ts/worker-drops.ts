// Events of a worker target that found no room: reported here once in a while, and told of at the other end in the place of the hole.

import { PubSubError } from './errors.js';
import { control, type Message } from './worker-message.js';

/** One `ERR_BUFFER_FULL` in this time. Source: contract section 2. */
const QUIET_MS: number = 100;

/** Topics of one `__gap`. Source: as the engine's hubs. */
const MAX_GAP_TOPICS: number = 1024;

/** Events that found no room since the last one that did. */
interface Loss {
  readonly from: number;
  readonly topics: Set<string>;
  dropped: number;
}

export class Drops {
  readonly #raise: (error: PubSubError) => void;
  #loss: Loss | undefined;
  #unreported = 0;
  #isQuiet = false;

  constructor(raise: (error: PubSubError) => void) {
    this.#raise = raise;
  }

  add(topic: string): void {
    this.#loss ??= { from: Date.now(), topics: new Set(), dropped: 0 };
    this.#loss.dropped++;
    if (this.#loss.topics.size < MAX_GAP_TOPICS) this.#loss.topics.add(topic);
    this.#unreported++;
    if (!this.#isQuiet) this.report();
  }

  /** What those who listen are told; undefined when nothing was lost since the last time. */
  takeGap(): Message | undefined {
    if (this.#loss === undefined) return undefined;
    const { from, topics, dropped } = this.#loss;
    this.forget();
    return control('__gap', { cause: 'overflow', from, to: Date.now(), topics: [...topics], dropped });
  }

  /** Nobody is there any more who could be told. */
  forget(): void {
    this.#loss = undefined;
  }

  /** Raises what was dropped since the last report, and is quiet for a while. */
  report(): void {
    const dropped = this.#unreported;
    this.#unreported = 0;
    if (dropped === 0) return;
    const message = `no room for ${dropped} event(s), dropped; await drain() before dispatching more, or raise maxBufferedAmount (before the other end is there) or maxPendingBytes`;
    this.#raise(new PubSubError('ERR_BUFFER_FULL', message, { dropped }));
    this.#isQuiet = true;
    unrefTimer(
      setTimeout(() => {
        this.#isQuiet = false;
        this.report();
      }, QUIET_MS),
    );
  }
}

function unrefTimer(timer: unknown): void {
  (timer as { unref?(): void }).unref?.();
}
