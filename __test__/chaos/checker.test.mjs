// The checker of `npm run chaos` finds what it is there to find: each promise is broken once, and each excuse is used and misused.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Absence, idOf, judge, Stream, topicsOf } from '../../chaos/checker.mjs';
import { randomFrom, seedFor } from '../core/random.mjs';

const allTopics = [0, 1].flatMap(topicsOf);

/** A hub (publisher 0) of one epoch and a spoke (publisher 1), each with 100 events. */
const publishers = ({ hub = {}, spoke = {} } = {}) => [
  { totals: [100], losses: [], dropped: [], lateBy: 0, ...hub },
  { totals: [100], losses: [], dropped: [], lateBy: 0, ...spoke },
];

/** A stream that heard the events of a publisher for which `isHeard`; `tell` is called before each sequence. */
function hear(stream, publisher, { from = 0, to = 100, epoch = 0, isHeard = () => true, tell = () => {} } = {}) {
  for (let sequence = from; sequence < to; sequence++) {
    tell(sequence);
    if (isHeard(sequence)) stream.event(publisher, epoch, sequence);
  }
  return stream;
}

function whole() {
  const stream = new Stream(2);
  hear(stream, 0);
  return hear(stream, 1);
}

const verdictOn = (streams, facts) =>
  judge(
    streams.map((stream) => stream.summary()),
    publishers(facts),
  );

const gap = (topics = allTopics, more = {}) => ({ cause: 'connection-lost', direction: 'in', topics, ...more });
const between = (from, to) => (sequence) => sequence < from || sequence >= to;
const counts = (changes) => ({ duplicate: 0, reordering: 0, foreign: 0, unexplained: 0, ...changes });

test('topics are used in turn, and what an event is called follows from its numbers', () => {
  assert.deepEqual(topicsOf(3), ['chaos:3.0', 'chaos:3.1']);
  assert.deepEqual(
    [0, 1, 2].map((sequence) => `chaos:${idOf(3, sequence)}`),
    ['chaos:3.0', 'chaos:3.1', 'chaos:3.0'],
  );
});

describe('a run without a fault', () => {
  test('is right', () => {
    const verdict = verdictOn([whole(), whole()]);
    assert.equal(verdict.isRight, true);
    assert.equal(verdict.deliveries, 400);
    assert.deepEqual(verdict.missing, { holes: 0, ownGap: {}, lost: 0, dropped: 0, notWanted: 0 });
  });

  test('is right however the publishers interleave', (t) => {
    const random = randomFrom(seedFor(t));
    const stream = new Stream(2);
    const next = [0, 0];
    while (next[0] < 100 || next[1] < 100) {
      const publisher = next[0] === 100 ? 1 : next[1] === 100 ? 0 : random(2);
      stream.event(publisher, 0, next[publisher]++);
    }
    assert.equal(verdictOn([stream]).isRight, true);
  });
});

describe('the checker finds', () => {
  test('a duplicate, at once and later', () => {
    const stream = new Stream(2);
    hear(stream, 0, { to: 50 });
    stream.event(0, 0, 49);
    stream.event(0, 0, 7);
    hear(stream, 0, { from: 50 });
    const verdict = verdictOn([hear(stream, 1)]);
    assert.equal(verdict.isRight, false);
    assert.deepEqual(verdict.counts, counts({ duplicate: 2 }));
    assert.deepEqual(verdict.violations[0], {
      subscriber: 0,
      kind: 'duplicate',
      publisher: 0,
      epoch: 0,
      sequence: 49,
    });
  });

  test('a reordering: two neighbours, across topics, and an event of an epoch that is over', () => {
    const swapped = new Stream(2);
    hear(swapped, 0, { to: 10 });
    swapped.event(0, 0, 11);
    swapped.event(0, 0, 10);
    hear(swapped, 0, { from: 12 });
    assert.equal(verdictOn([hear(swapped, 1), whole()]).counts.reordering, 1);

    const epochs = new Stream(2);
    hear(epochs, 0, { to: 99 });
    epochs.gap(gap());
    epochs.event(0, 1, 0);
    epochs.event(0, 0, 99);
    const verdict = verdictOn([hear(epochs, 1)], { hub: { totals: [100, 1] } });
    assert.equal(verdict.counts.reordering, 1);
  });

  test('an event that came late and then once more: a reordering and a duplicate', () => {
    const stream = new Stream(2);
    for (const sequence of [0, 2, 1, 1]) stream.event(0, 0, sequence);
    assert.deepEqual(stream.violationCount, { reordering: 1, duplicate: 1, foreign: 0 });
  });

  test('a hole that nobody explains, with its place', () => {
    const stream = hear(new Stream(2), 0, { isHeard: between(40, 43) });
    const verdict = verdictOn([hear(stream, 1), whole()]);
    assert.deepEqual(verdict.counts, counts({ unexplained: 3 }));
    const [found] = verdict.violations;
    assert.deepEqual(found, { subscriber: 0, kind: 'unexplained', publisher: 0, epoch: 0, from: 40, end: 43 });
  });

  test('the first event missing, the last event missing, everything missing', () => {
    for (const isHeard of [(n) => n > 0, (n) => n < 99, () => false]) {
      const verdict = verdictOn([hear(hear(new Stream(2), 0, { isHeard }), 1), whole()]);
      assert.equal(verdict.isRight, false);
      assert.equal(
        verdict.counts.unexplained,
        Array.from({ length: 100 }, (_, n) => n).filter((n) => !isHeard(n)).length,
      );
    }
  });

  test('the same event missing everywhere', () => {
    const streams = [0, 1].map(() => hear(hear(new Stream(2), 0, { isHeard: between(5, 6) }), 1));
    assert.equal(verdictOn(streams).counts.unexplained, 2);
  });

  test('a life of the hub of which nothing was heard', () => {
    const verdict = verdictOn([whole()], { hub: { totals: [100, 5] } });
    assert.equal(verdict.counts.unexplained, 5);
  });

  test('an event of a publisher that there is not', () => {
    const stream = whole();
    stream.event(2, 0, 0);
    assert.deepEqual(verdictOn([stream]).counts, counts({ foreign: 1 }));
  });
});

describe('an own gap', () => {
  const holed = (tell) => {
    const stream = new Stream(2);
    hear(stream, 1);
    return hear(stream, 0, { isHeard: between(40, 60), tell: (sequence) => tell(stream, sequence) });
  };

  test('explains the hole in which it stands', () => {
    for (const place of [40, 50, 60]) {
      const stream = holed((stream, sequence) => sequence === place && stream.gap(gap()));
      const verdict = verdictOn([stream, whole()]);
      assert.equal(verdict.isRight, true, `before ${place}`);
      assert.deepEqual(verdict.missing.ownGap, { 'connection-lost': 20 });
      assert.deepEqual(verdict.gaps, { 'connection-lost': 1 });
    }
  });

  test('explains nothing when it comes an event too early or too late', () => {
    for (const place of [39, 61]) {
      const stream = holed((stream, sequence) => sequence === place && stream.gap(gap()));
      assert.equal(verdictOn([stream, whole()]).counts.unexplained, 20, `before ${place}`);
    }
  });

  test('explains the topics that it names and no others', () => {
    const stream = holed((stream, sequence) => sequence === 50 && stream.gap(gap(['chaos:0.1', 'other:1'])));
    const verdict = verdictOn([stream, whole()]);
    assert.deepEqual(verdict.missing.ownGap, { 'connection-lost': 10 });
    assert.equal(verdict.counts.unexplained, 10);
  });

  test('of direction out explains nothing that should have come in', () => {
    const stream = holed((stream, sequence) => sequence === 50 && stream.gap(gap(allTopics, { direction: 'out' })));
    assert.equal(verdictOn([stream, whole()]).counts.unexplained, 20);
  });

  test('is no licence for what comes behind it', () => {
    const stream = new Stream(2);
    hear(stream, 1);
    hear(stream, 0, {
      isHeard: (sequence) => between(40, 60)(sequence) && sequence !== 70,
      tell: (sequence) => sequence === 50 && stream.gap(gap()),
    });
    assert.equal(verdictOn([stream, whole()]).counts.unexplained, 1);
  });

  test('is what must be told when the hub was killed: nobody knows what else there was', () => {
    const facts = { hub: { totals: [null, 100] } };
    const killed = (tell) => {
      const stream = hear(new Stream(2), 0, { to: 30 });
      tell(stream);
      hear(stream, 0, { epoch: 1 });
      return hear(stream, 1);
    };
    assert.equal(verdictOn([killed((stream) => stream.gap(gap()))], facts).isRight, true);
    assert.equal(verdictOn([killed(() => {})], facts).counts.unexplained, 1);
  });
});

describe("a publisher's gap out", () => {
  /** All subscribers miss the same events of the spoke. */
  const missing = (from, to, count = 2) =>
    Array.from({ length: count }, () => hear(hear(new Stream(2), 0), 1, { isHeard: between(from, to) }));

  test('explains what nobody has heard, up to the event at which the link broke', () => {
    const verdict = verdictOn(missing(40, 60), { spoke: { losses: [60] } });
    assert.equal(verdict.isRight, true);
    assert.equal(verdict.missing.lost, 40);
  });

  test('explains nothing that somebody has heard: the hub had it', () => {
    const streams = [...missing(40, 60), hear(hear(new Stream(2), 0), 1, { isHeard: between(40, 59) })];
    const verdict = verdictOn(streams, { spoke: { losses: [60] } });
    assert.equal(verdict.isRight, false);
  });

  test('explains no hole in the middle of a link: what is lost is the last that was sent', () => {
    assert.equal(verdictOn(missing(40, 60), { spoke: { losses: [80] } }).counts.unexplained, 40);
    assert.equal(verdictOn(missing(40, 60), { spoke: { losses: [80], lateBy: 20 } }).isRight, true);
    assert.equal(verdictOn(missing(40, 60), { spoke: { losses: [59] } }).counts.unexplained, 40);
  });

  test('explains one hole, not two', () => {
    const isHeard = (sequence) => between(10, 12)(sequence) && between(14, 16)(sequence);
    const streams = [hear(hear(new Stream(2), 0), 1, { isHeard })];
    assert.equal(verdictOn(streams, { spoke: { losses: [16], lateBy: 10 } }).counts.unexplained, 2);
    assert.equal(verdictOn(streams, { spoke: { losses: [12, 16] } }).isRight, true);
  });

  test('counts without what was dropped, which never went to the link', () => {
    const isHeard = between(40, 60);
    const streams = [hear(hear(new Stream(2), 0), 1, { isHeard })];
    const verdict = verdictOn(streams, { spoke: { dropped: [[45, 50]], losses: [55] } });
    assert.equal(verdict.isRight, true);
    assert.deepEqual([verdict.missing.lost, verdict.missing.dropped], [15, 5]);
  });
});

test('an event counted as dropped explains itself and no neighbour', () => {
  const streams = [hear(hear(new Stream(2), 0), 1, { isHeard: between(40, 43) })];
  const verdict = verdictOn([...streams, whole()], { spoke: { dropped: [[40, 42]] } });
  assert.equal(verdict.missing.dropped, 2);
  assert.equal(verdict.counts.unexplained, 1);
});

describe('a time without listeners', () => {
  /** Misses what comes from 30 up to 50; `mark` is where `ready` had resolved. */
  function rested(mark, { early = 0 } = {}) {
    const stream = hear(new Stream(2), 1);
    const absence = new Absence();
    hear(stream, 0, {
      isHeard: between(30, 50),
      tell: (sequence) => sequence === 30 - early && stream.rest(absence),
    });
    if (mark !== undefined) absence.marks = [mark, [0, 100]];
    return stream;
  }

  test('explains what was published before ready(topic) had resolved', () => {
    const verdict = verdictOn([rested([0, 50]), whole()]);
    assert.equal(verdict.isRight, true);
    assert.equal(verdict.missing.notWanted, 20);
  });

  test('explains nothing from there on', () => {
    assert.equal(verdictOn([rested([0, 45]), whole()]).counts.unexplained, 5);
    assert.equal(verdictOn([rested([0, 29], { early: 5 }), whole()]).counts.unexplained, 20);
  });

  test('lasts over events that were under way when the listeners went', () => {
    assert.equal(verdictOn([rested([0, 50], { early: 3 }), whole()]).isRight, true);
  });

  test('that never ends explains the rest of the stream', () => {
    const stream = hear(new Stream(2), 1);
    hear(stream, 0, { to: 30 });
    stream.rest(new Absence());
    assert.equal(verdictOn([stream, whole()]).isRight, true);
  });
});

test('random streams: the verdict is wrong exactly when an event was taken away, doubled or moved', (t) => {
  const random = randomFrom(seedFor(t));
  for (let round = 0; round < 300; round++) {
    const order = Array.from({ length: 100 }, (_, n) => n);
    const fault = ['none', 'take', 'double', 'move'][random(4)];
    const at = random(99);
    if (fault === 'take') order.splice(at, 1);
    if (fault === 'double') order.splice(at + 1 + random(99 - at), 0, order[at]);
    if (fault === 'move') order.splice(at + 1 + random(98 - at), 0, ...order.splice(at, 1));
    const stream = hear(new Stream(2), 1);
    for (const sequence of order) stream.event(0, 0, sequence);
    const { counts: found, isRight } = verdictOn([stream, whole()]);
    const isMoved = order.some((sequence, index) => sequence !== index);
    assert.equal(isRight, fault === 'none' || !isMoved, `${fault} ${at}: ${JSON.stringify(found)}`);
    if (fault === 'take') assert.deepEqual(found, counts({ unexplained: 1 }));
    if (fault === 'double') assert.deepEqual(found, counts({ duplicate: 1 }));
    if (fault === 'move' && isMoved) assert.ok(found.reordering > 0, JSON.stringify(found));
  }
});
