// Numbers that one target publishes and another hears, and whether everything that is missing lies in a gap that one of them told.
import assert from 'node:assert/strict';
import { publish } from './facts.mjs';

export const manyTopics = Array.from({ length: 1000 }, (_, n) => `t:${n}`);

const rounds = 5;

/** Each publisher's numbers, to each of many topics. */
export function publishToMany(publishers) {
  for (let n = 0; n < rounds; n++)
    for (const [index, publisher] of publishers.entries())
      for (const topic of manyTopics) publish(publisher, ...topic.split(':'), [index, n]);
}

/** Waits until all that `publishToMany` publishes was heard: each once and in order. */
export async function hearsMany(heard, publishers, patienceMs) {
  await heard.reaches(rounds * manyTopics.length * publishers.length, patienceMs);
  const last = new Map();
  for (const { id, payload } of heard.entries) {
    const [index, n] = payload;
    const key = `${id} of ${index}`;
    assert.equal(n, (last.get(key) ?? -1) + 1, key);
    last.set(key, n);
  }
  assert.equal(last.size, manyTopics.length * publishers.length);
}

/** Publishes numbers to topics in turn, until it is stopped. */
export class Traffic {
  sent = [];
  #isOver = false;
  #ended;

  constructor(target, topics, everyMs = 2) {
    const names = topics.map((topic) => topic.split(':'));
    this.#ended = (async () => {
      for (let n = 0; !this.#isOver; n++) {
        const [type, id] = names[n % names.length];
        this.sent.push({ n, topic: topics[n % topics.length], at: Date.now() });
        publish(target, type, id, n);
        await new Promise((resolve) => setTimeout(resolve, everyMs));
      }
    })();
  }

  async stop() {
    this.#isOver = true;
    await this.#ended;
  }

  get last() {
    return this.sent.at(-1).n;
  }

  /**
   * In order per topic, none twice, and nothing missing that no gap covers. Returns what is missing. With `mayRepeat` what was heard before
   * may be heard again, in order.
   */
  check(heard, gaps, { mayRepeat = false } = {}) {
    const has = new Set();
    const last = new Map();
    this.repeated = 0;
    for (const { type, id, payload } of heard.entries) {
      const topic = `${type}:${id}`;
      const isRepeated = has.has(payload);
      assert.ok(mayRepeat || !isRepeated, `${payload} twice`);
      this.repeated += isRepeated ? 1 : 0;
      if (!isRepeated) {
        assert.ok(payload > (last.get(topic) ?? -1), `${topic}: ${payload} behind ${last.get(topic)}`);
        last.set(topic, payload);
      }
      has.add(payload);
    }
    const missing = this.sent.filter(({ n }) => !has.has(n));
    const isTold = ({ at, topic }) =>
      gaps.some(({ from, to, topics, direction }) => {
        const isAbout = direction === 'out' || topics.includes(topic);
        return isAbout && at >= from - 1 && at <= to + 1;
      });
    assert.deepEqual(
      missing.filter((one) => !isTold(one)),
      [],
      `missing and not told; the gaps: ${JSON.stringify(gaps)}`,
    );
    return missing;
  }
}
