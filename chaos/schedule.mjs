// Which fault strikes whom, and when, all of it rolled from a seed. Pure: does not strike, wait or read the clock.
// A fault's time is a number of published events, so that a slow machine gets the same run as a fast one, only later.
// Invariant: the same options give the same schedule.
import { diceFrom } from '../dist/dice.js';

/** The first and the last of all events pass in peace: every stream has a beginning and an end to be checked. */
const [FIRST, LAST] = [0.02, 0.97];

export const cutWays = ['cut', 'reset', 'half-close up', 'half-close down'];

/**
 * @param {{ seed: number, events: number, subscribers: number, publishers: number, cuts: number, stalls: number, lags: number,
 *   restarts: number, rests: number, floods: number }} options `publishers` without the hub
 * @returns {{ at: number, kind: string }[]} in the order in which they strike
 */
export function makeSchedule(options) {
  const roll = diceFrom(options.seed);
  const below = (bound) => Math.floor(roll() * bound);
  const between = (least, most) => least + below(most - least + 1);
  const oneOf = (list) => list[below(list.length)];
  const subscriber = () => below(options.subscribers);
  /** A link: publishers have few of them and matter as much. */
  const link = () =>
    roll() < 0.7
      ? { role: 'subscriber', index: subscriber() }
      : { role: 'publisher', index: below(options.publishers) };

  const makers = {
    cut: () => ({ ...link(), how: oneOf(cutWays) }),
    // From a hiccup to longer than 2.5 heartbeats of a second.
    stall: () => ({ ...link(), direction: oneOf(['up', 'down', 'both']), ms: oneOf([30, 200, 800, 3500]) }),
    lag: () => ({ ...link(), delayMs: between(1, 60), jitterMs: between(0, 60), ms: between(200, 2000) }),
    restart: (n) => ({ how: n % 2 === 0 ? 'orderly' : 'kill', downMs: between(0, 500) }),
    rest: () => ({ index: subscriber(), ms: between(10, 1500) }),
    // A reader that stands still never learns why it was cut; one that only reads slowly does.
    flood: (n) => ({ index: subscriber(), how: n % 2 === 0 ? 'standing' : 'slow', ms: 2500 }),
  };
  const counts = {
    cut: options.cuts,
    stall: options.stalls,
    lag: options.lags,
    restart: options.restarts,
    rest: options.rests,
    flood: options.floods,
  };
  const kinds = Object.entries(counts).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, n) => ({ kind, ...makers[kind](n) })),
  );
  shuffle(kinds, below);
  const span = (LAST - FIRST) * options.events;
  return kinds.map((fault, n) => ({
    at: Math.floor(FIRST * options.events + (span * (n + roll())) / kinds.length),
    ...fault,
  }));
}

/** Fisher and Yates. */
function shuffle(list, below) {
  for (let n = list.length - 1; n > 0; n--) {
    const other = below(n + 1);
    [list[n], list[other]] = [list[other], list[n]];
  }
}

/** One fault as a line. */
export function describe({ at, kind, ...rest }) {
  const whom = rest.role === undefined ? '' : ` ${rest.role} ${rest.index}`;
  const { role: _, index, ...how } = rest;
  const more = Object.entries(
    rest.role === undefined ? { ...(index === undefined ? {} : { subscriber: index }), ...how } : how,
  );
  return `${String(at).padStart(9)} ${kind}${whom} ${more.map(([name, value]) => `${name}=${value}`).join(' ')}`;
}
