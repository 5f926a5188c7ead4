// The publishing spokes of a run, each over a link of its own. The last one is reckless: it goes on publishing without a link until its
// queue is full, and knows exactly what was dropped.
// Argument: JSON of { urls, rate, bytes, heartbeatMs, quota }; publisher numbers begin with 1, the hub is 0.
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { idOf } from './checker.mjs';
import { follow, pace, tell, watch } from './child.mjs';

const { urls, rate, bytes, heartbeatMs, quota } = JSON.parse(process.argv[2]);
/** Above it a publisher that is not reckless waits: below the queue of a spoke without a link. */
const MAX_PENDING_BYTES = 256 << 10;
/** The queue of the reckless one is small, so that outages of a run fill it. */
const RECKLESS_QUEUE_BYTES = 32 << 10;
const filler = 'x'.repeat(bytes);

class Publisher {
  sequence = 0;
  /** Ranges that were dropped, and how many the spoke says it has dropped. */
  dropped = [];
  reported = 0;
  /** Events that had gone to links when one was lost; those outages that had a gap out. */
  losses = [];
  gaps = 0;
  #number;
  #spoke;
  #isReckless;
  #isLinked = false;
  #sentBefore = 0;

  constructor(number, url, isReckless) {
    this.#number = number;
    this.#isReckless = isReckless;
    this.#spoke = createWebSocketClientEventTarget(url, {
      reconnect: { minDelayMs: 20, maxDelayMs: 400 },
      limits: { heartbeatMs },
      ...(isReckless ? { maxBufferedAmount: RECKLESS_QUEUE_BYTES } : {}),
    });
    watch(this.#spoke, `publisher ${number}`, (error) => this.#isDrop(error));
    this.#spoke.addEventListener('open', () => {
      this.#isLinked = true;
    });
    this.#spoke.addEventListener('reconnecting', () => {
      // Attempts that failed sent nothing.
      if (this.#isLinked) this.#sentBefore = this.#spoke.stats().sent;
      this.#isLinked = false;
    });
    this.#spoke.addEventListener('gap', ({ detail }) => {
      this.gaps++;
      if (detail.direction !== 'in') this.losses.push(this.#sentBefore);
    });
  }

  ready() {
    return this.#spoke.ready();
  }

  publishOne() {
    if (this.sequence >= quota) return false;
    if (this.#isReckless && this.#spoke.state !== 'open') this.#publishRecklessly();
    else if (this.#spoke.bufferedAmount < (this.#isReckless ? RECKLESS_QUEUE_BYTES / 2 : MAX_PENDING_BYTES))
      this.#publish();
    return true;
  }

  /** Everything has been handed to a link, then one event more. */
  async finish() {
    await this.#spoke.ready();
    await this.#spoke.flush();
    this.#publish();
  }

  told() {
    const { dropped, sent } = this.#spoke.stats();
    const { sequence, reported, losses, gaps } = this;
    return { published: sequence, sent, dropped: this.dropped, counted: dropped, reported, losses, gaps };
  }

  #publish() {
    const payload = [this.#number, 0, this.sequence, filler];
    this.#spoke.dispatchEvent(createEvent('chaos', idOf(this.#number, this.sequence), payload));
    this.sequence++;
  }

  #publishRecklessly() {
    const before = this.#spoke.stats().dropped;
    this.#publish();
    if (this.#spoke.stats().dropped === before) return;
    const sequence = this.sequence - 1;
    if (this.dropped.at(-1)?.[1] === sequence) this.dropped.at(-1)[1]++;
    else this.dropped.push([sequence, sequence + 1]);
  }

  #isDrop({ code, dropped }) {
    if (code !== 'ERR_BUFFER_FULL') return false;
    this.reported += dropped;
    return this.#isReckless;
  }
}

const publishers = urls.map((url, index) => new Publisher(index + 1, url, index === urls.length - 1));
const toldAll = () => ({ publishers: publishers.map((publisher) => publisher.told()) });

follow({
  go() {
    for (const publisher of publishers) pace(rate / publishers.length, () => publisher.publishOne());
    setInterval(() => tell('progress', { published: publishers.map(({ sequence }) => sequence) }), 20);
  },
  mark({ id }) {
    tell('marks', { id, marks: publishers.map(({ sequence }) => [0, sequence]) });
  },
  async finish() {
    await Promise.all(publishers.map((publisher) => publisher.finish()));
    tell('finished', toldAll());
  },
  tell() {
    tell('told', toldAll());
  },
});

await Promise.all(publishers.map((publisher) => publisher.ready()));
tell('ready');
