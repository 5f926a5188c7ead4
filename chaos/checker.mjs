// Decides whether what subscribers heard is what was promised. Pure: counts numbers, knows no sockets and no clock.
//
// Each event carries (publisher, epoch, sequence) and its topic follows from them. Promised is, for each subscriber and publisher: nothing
// twice, nothing out of order, and whatever is missing was told, in one of four ways:
//   own gap     a `gap` of the subscriber with that topic, raised between the event before the hole and the one behind it
//   lost        a `gap` of the publisher with direction out: nobody has heard the event, and the lost ones are the last that went to
//               the link that broke
//   dropped     the publisher counted exactly this event as dropped
//   not wanted  the subscriber had no listener, or its `ready(topic)` had not resolved when the event was published
// Invariant: an event is judged by the facts of its own subscriber and publisher; what nobody can explain is a violation.

/** Each publisher has so many topics and uses them in turn. */
export const LANES = 2;
const ALL_LANES = (1 << LANES) - 1;

/** Violations that are kept with their details; all are counted. */
const MAX_EXAMPLES = 20;

export function topicsOf(publisher) {
  return Array.from({ length: LANES }, (_, lane) => `chaos:${publisher}.${lane}`);
}

export function idOf(publisher, sequence) {
  return `${publisher}.${sequence % LANES}`;
}

/** `[publisher, lane]` of a topic; nothing for topics of others. */
function parseTopic(topic) {
  const found = /^chaos:(\d+)\.(\d+)$/.exec(topic);
  return found === null ? undefined : [Number(found[1]), Number(found[2])];
}

/** A time without listeners. `marks`: per publisher the first `[epoch, sequence]` that is wanted again; unknown until that is asked. */
export class Absence {
  marks = [];
}

/** What one subscriber hears, event by event. */
export class Stream {
  received = 0;
  gaps = {};
  holes = [];
  violations = [];
  violationCount = { duplicate: 0, reordering: 0, foreign: 0 };
  #publishers;
  /** Late events that were found already: one more of them is a duplicate. */
  #late = new Set();

  constructor(publishers) {
    this.#publishers = Array.from({ length: publishers }, () => ({
      epoch: 0,
      next: 0,
      gapLanes: 0,
      gapCause: '',
      absences: [],
      isMarked: false,
    }));
  }

  /** The hot path: one comparison for an event that is the next one. */
  event(publisher, epoch, sequence) {
    this.received++;
    const state = this.#publishers[publisher];
    if (state === undefined) return this.#complain('foreign', publisher, epoch, sequence);
    if (epoch === state.epoch && sequence === state.next) {
      state.next++;
      if (state.isMarked) unmark(state, publisher);
    } else this.#unexpected(state, publisher, epoch, sequence);
  }

  /** A `gap` event, in its place. */
  gap({ cause, topics, direction }) {
    this.gaps[cause] = (this.gaps[cause] ?? 0) + 1;
    if (direction === 'out') return;
    for (const [publisher, lane] of topics.map(parseTopic).filter((found) => found !== undefined)) {
      const state = this.#publishers[publisher];
      state.gapLanes |= 1 << lane;
      state.gapCause = cause;
      state.isMarked = true;
    }
  }

  /** All listeners are gone. */
  rest(absence) {
    for (const state of this.#publishers) {
      state.absences.push(absence);
      state.isMarked = true;
    }
  }

  /** The last event heard of a publisher: `[epoch, sequence]`. */
  last(publisher) {
    const { epoch, next } = this.#publishers[publisher];
    return [epoch, next - 1];
  }

  /** What `judge` needs; the ends of all epochs are holes that may turn out to be empty. */
  summary() {
    const ends = this.#publishers.map((state, publisher) => hole(state, publisher, state.epoch, state.next, null));
    const { received, gaps, violations, violationCount } = this;
    return { received, gaps, violations, violationCount, holes: [...this.holes, ...ends] };
  }

  #unexpected(state, publisher, epoch, sequence) {
    const isLate = epoch < state.epoch || (epoch === state.epoch && sequence < state.next);
    if (isLate) return this.#complainOfLate(publisher, epoch, sequence);
    for (; state.epoch < epoch; state.epoch++, state.next = 0)
      this.holes.push(hole(state, publisher, state.epoch, state.next, null));
    if (sequence > state.next) this.holes.push(hole(state, publisher, epoch, state.next, sequence));
    state.next = sequence + 1;
    unmark(state, publisher);
  }

  #complainOfLate(publisher, epoch, sequence) {
    const key = `${publisher}/${epoch}/${sequence}`;
    const isMissing = this.holes.some(
      (hole) => hole.publisher === publisher && hole.epoch === epoch && contains(hole, sequence),
    );
    const kind = isMissing && !this.#late.has(key) ? 'reordering' : 'duplicate';
    this.#late.add(key);
    this.#complain(kind, publisher, epoch, sequence);
  }

  #complain(kind, publisher, epoch, sequence) {
    this.violationCount[kind]++;
    if (this.violations.length < MAX_EXAMPLES) this.violations.push({ kind, publisher, epoch, sequence });
  }
}

/**
 * An event was heard: a gap before it explains no hole behind it. An absence may: what was under way when the listeners went is heard by
 * those that came, and what was published in between is missing behind it.
 */
function unmark(state, publisher) {
  state.gapLanes = 0;
  state.gapCause = '';
  const last = [state.epoch, state.next - 1];
  state.absences = state.absences.filter(({ marks }) => isBefore(last, marks[publisher]));
  state.isMarked = state.absences.length > 0;
}

/** Whether an `[epoch, sequence]` comes before a mark; before one that is not known yet everything does. */
function isBefore([epoch, sequence], mark) {
  return mark === undefined || epoch < mark[0] || (epoch === mark[0] && sequence < mark[1]);
}

/** Sequences from `from` up to `to`, which is left out; `to` null: to the end of the epoch. */
function hole({ gapLanes, gapCause, absences }, publisher, epoch, from, to) {
  return { publisher, epoch, from, to, gapLanes, gapCause, absences };
}

function contains({ from, to }, sequence) {
  return sequence >= from && (to === null || sequence < to);
}

/**
 * Judges what all subscribers heard against what the publishers say of themselves.
 * @param {object[]} streams a `summary()` per subscriber
 * @param {{ totals: (number | null)[], losses: number[], dropped: [number, number][], lateBy: number }[]} publishers
 *   `totals`: events per epoch, null where the publisher was killed; `losses`: for each link that broke and was followed by a gap out the
 *   number of events that had gone to links by then, at most `lateBy` too many; `dropped`: ranges of sequences that were counted as
 *   dropped, and so never went to a link
 */
export function judge(streams, publishers) {
  const verdict = {
    deliveries: sum(streams.map(({ received }) => received)),
    missing: { holes: 0, ownGap: {}, lost: 0, dropped: 0, notWanted: 0 },
    gaps: {},
    violations: [],
    counts: { duplicate: 0, reordering: 0, foreign: 0, unexplained: 0 },
  };
  const heard = new Heard(streams, publishers);
  /** Per publisher: events that only its own gap can explain. */
  const lost = publishers.map(() => new Set());
  const unsettled = [];
  for (const [subscriber, stream] of streams.entries()) {
    for (const [cause, count] of Object.entries(stream.gaps)) verdict.gaps[cause] = (verdict.gaps[cause] ?? 0) + count;
    for (const kind of Object.keys(stream.violationCount)) verdict.counts[kind] += stream.violationCount[kind];
    complain(verdict, stream.violations, subscriber);
    for (const hole of [...stream.holes, ...unseenEpochs(stream.holes, publishers)]) {
      const rest = explain(hole, publishers[hole.publisher], heard, verdict.missing);
      for (const sequence of rest.lost) lost[hole.publisher].add(sequence);
      if (rest.lost.length > 0) unsettled.push({ subscriber, hole, sequences: rest.lost });
      unexplained(verdict, subscriber, hole, rest.unexplained);
    }
  }
  const isLost = lost.map((sequences, publisher) => assign(sequences, publishers[publisher]));
  for (const { subscriber, hole, sequences } of unsettled) {
    const wrong = sequences.filter((sequence) => !isLost[hole.publisher](sequence));
    verdict.missing.lost += sequences.length - wrong.length;
    unexplained(verdict, subscriber, hole, wrong);
  }
  verdict.isRight = Object.values(verdict.counts).every((count) => count === 0);
  return verdict;
}

/** The epochs that a stream never came to are missing from their first event on. */
function unseenEpochs(holes, publishers) {
  return publishers.flatMap(({ totals }, publisher) => {
    const end = holes.findLast((hole) => hole.publisher === publisher);
    const unseen = totals.map((_, epoch) => epoch).filter((epoch) => epoch > end.epoch);
    return unseen.map((epoch) => ({ ...end, epoch, from: 0, to: null }));
  });
}

/** Counts what explains the events of a hole; returns those that only a loss of the publisher can, and those that nothing can. */
function explain(hole, publisher, heard, missing) {
  const rest = { lost: [], unexplained: [] };
  const total = publisher.totals[hole.epoch];
  if (hole.to === null && (total === null || total === undefined)) return explainUnknownEnd(hole, rest);
  const end = hole.to ?? total;
  if (hole.from < end) missing.holes++;
  for (let sequence = hole.from; sequence < end; sequence++) {
    if (hole.gapLanes & (1 << (sequence % LANES)))
      missing.ownGap[hole.gapCause] = (missing.ownGap[hole.gapCause] ?? 0) + 1;
    else if (isNotWanted(hole, sequence)) missing.notWanted++;
    else if (isDropped(publisher, hole.epoch, sequence)) missing.dropped++;
    else if (heard.byAnybody(hole.publisher, hole.epoch, sequence)) rest.unexplained.push(sequence);
    else rest.lost.push(sequence);
  }
  return rest;
}

/** The publisher was killed: nobody knows how many there were, so the subscriber must have been told that it may have missed some. */
function explainUnknownEnd(hole, rest) {
  const isTold = hole.gapLanes === ALL_LANES || isNotWanted(hole, Number.POSITIVE_INFINITY);
  if (!isTold) rest.unexplained.push(hole.from);
  return rest;
}

function isNotWanted({ absences, publisher, epoch }, sequence) {
  return absences.some(({ marks }) => isBefore([epoch, sequence], marks[publisher]));
}

function isDropped({ dropped }, epoch, sequence) {
  return epoch === 0 && dropped.some(([from, to]) => sequence >= from && sequence < to);
}

/** Who heard what, from what each has missed. */
class Heard {
  #streams;
  /** Every subscriber asks about the same events. */
  #known = new Map();

  constructor(streams, publishers) {
    this.#streams = streams.map(({ holes }) => {
      const missed = publishers.map(() => new Map());
      for (const hole of holes) {
        const byEpoch = missed[hole.publisher];
        byEpoch.set(hole.epoch, [...(byEpoch.get(hole.epoch) ?? []), hole]);
      }
      return missed;
    });
  }

  byAnybody(publisher, epoch, sequence) {
    const key = `${publisher}/${epoch}/${sequence}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const answer = this.#ask(publisher, epoch, sequence);
    this.#known.set(key, answer);
    return answer;
  }

  #ask(publisher, epoch, sequence) {
    return this.#streams.some((missed) => {
      const holes = missed[publisher].get(epoch);
      // Without a hole at its end, even an empty one, the stream never came to this epoch.
      return holes !== undefined && !holes.some((hole) => contains(hole, sequence));
    });
  }
}

/**
 * Matches runs of lost events with links that broke: each link loses one run at most, the last that went to it.
 * Returns whether an event is in a run that was matched.
 */
function assign(sequences, { losses, dropped, lateBy }) {
  // As the link counts: what was dropped never went to it.
  const countedBefore = (sequence) =>
    sequence - sum(dropped.map(([from, to]) => Math.max(0, Math.min(to, sequence) - from)));
  const runs = runsOf([...sequences].sort((a, b) => a - b).map(countedBefore));
  const free = [...losses].sort((a, b) => a - b);
  const matched = runs.filter(({ end }) => {
    const index = free.findIndex((sent) => sent >= end && sent - end <= lateBy);
    if (index === -1) return false;
    free.splice(0, index + 1);
    return true;
  });
  return (sequence) => {
    const count = countedBefore(sequence);
    return matched.some(({ from, end }) => count >= from && count < end);
  };
}

function runsOf(sorted) {
  const runs = [];
  for (const sequence of sorted) {
    if (runs.at(-1)?.end === sequence) runs.at(-1).end++;
    else runs.push({ from: sequence, end: sequence + 1 });
  }
  return runs;
}

function unexplained(verdict, subscriber, { publisher, epoch }, sequences) {
  verdict.counts.unexplained += sequences.length;
  const found = runsOf(sequences).map(({ from, end }) => ({ kind: 'unexplained', publisher, epoch, from, end }));
  complain(verdict, found, subscriber);
}

function complain(verdict, violations, subscriber) {
  const room = MAX_EXAMPLES - verdict.violations.length;
  verdict.violations.push(...violations.slice(0, Math.max(0, room)).map((found) => ({ subscriber, ...found })));
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
