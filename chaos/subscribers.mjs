// The subscribing spokes of a run, each over a link of its own, and a checker behind each.
// Argument: JSON of { urls, publishers, heartbeatMs }; `publishers` with the hub.
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { Absence, Stream, topicsOf } from './checker.mjs';
import { follow, tell, watch } from './child.mjs';

const { urls, publishers, heartbeatMs } = JSON.parse(process.argv[2]);
const topics = Array.from({ length: publishers }, (_, publisher) => topicsOf(publisher)).flat();

class Subscriber {
  stream = new Stream(publishers);
  #spoke;
  #absence;
  #listener = ({ detail: { payload } }) => this.stream.event(payload[0], payload[1], payload[2]);

  constructor(index, url) {
    this.#spoke = createWebSocketClientEventTarget(url, {
      reconnect: { minDelayMs: 20, maxDelayMs: 400 },
      limits: { heartbeatMs },
    });
    watch(this.#spoke, `subscriber ${index}`);
    this.#spoke.addEventListener('gap', ({ detail }) => this.stream.gap(detail));
    this.#listen();
  }

  rest() {
    if (this.#absence !== undefined) return;
    this.#absence = new Absence();
    this.stream.rest(this.#absence);
    for (const topic of topics) this.#spoke.removeEventListener(topic, this.#listener);
  }

  /** Listens again; resolves when all topics are active. */
  async rejoin() {
    this.#listen();
    await this.ready();
  }

  mark(marks) {
    this.#absence.marks = marks;
    this.#absence = undefined;
  }

  /** Every topic is active on the link that is there. */
  ready() {
    return Promise.all(topics.map((topic) => this.#spoke.ready(topic)));
  }

  #listen() {
    for (const topic of topics) this.#spoke.addEventListener(topic, this.#listener);
  }
}

const subscribers = urls.map((url, index) => new Subscriber(index, url));

follow({
  rest({ index }) {
    subscribers[index].rest();
  },
  async rejoin({ id, index }) {
    await subscribers[index].rejoin();
    tell('rejoined', { id });
  },
  marks({ index, marks }) {
    subscribers[index].mark(marks);
  },
  async ready({ id }) {
    await Promise.all(subscribers.map((subscriber) => subscriber.ready()));
    tell('allReady', { id });
  },
  /** Whether every subscriber has heard the last event of each publisher. */
  look({ id, lasts }) {
    const isThere = (stream) =>
      lasts.every(([epoch, sequence], publisher) => {
        const last = stream.last(publisher);
        return last[0] === epoch && last[1] === sequence;
      });
    tell('looked', { id, isThere: subscribers.every(({ stream }) => isThere(stream)) });
  },
  summarise() {
    tell('summaries', { summaries: subscribers.map(({ stream }) => stream.summary()) });
  },
});

await Promise.all(subscribers.map((subscriber) => subscriber.ready()));
tell('ready');
setInterval(() => tell('progress', { received: subscribers.map(({ stream }) => stream.received) }), 50);
