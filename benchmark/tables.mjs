// Rows of `npm run bench` as tables: medians, smallest and largest, and ratios of rounds that were played one after the other.

import { median, spread, table } from './measure.mjs';
import { peers } from './scenarios.mjs';

/** The figures of a row: title, digits, and whether more is better. */
export const figures = {
  perSecond: { title: 'per second', digits: 0, isMoreBetter: true },
  p50us: { title: 'p50 µs', digits: 1 },
  p99us: { title: 'p99 µs', digits: 0 },
  nsPerEvent: { title: 'ns per event', digits: 0 },
  hubUs: { title: 'µs of the hub', digits: 3 },
  dispatchUs: { title: 'dispatch p50 µs', digits: 2 },
  dispatchCpuUs: { title: 'of its thread µs', digits: 2 },
  jsUsPerEvent: { title: 'JavaScript µs per event', digits: 2 },
  jsBusyPercent: { title: 'JavaScript thread busy %', digits: 1 },
  loopP99Ms: { title: 'loop delay p99 ms', digits: 1 },
  idleP99Ms: { title: 'of an idle process', digits: 1 },
  connectionKiB: { title: 'KiB per connection', digits: 2 },
  residentMiB: { title: 'hub MiB', digits: 0 },
};

/** What the ratio of a scenario is taken of: the first of these that it has. */
const compared = ['p50us', 'nsPerEvent', 'perSecond', 'connectionKiB'];

export function byPeer(rows) {
  const found = new Map();
  for (const row of rows) found.set(row.peer, [...(found.get(row.peer) ?? []), row]);
  return found;
}

/** Median of the ratios round by round, of two peers. */
export function ratio(rows, figure, peer, other) {
  const [mine, others] = [peer, other].map((name) => rows.filter((row) => row.peer === name));
  return median(mine.map((row, round) => row[figure] / others[round][figure]));
}

export function tableOf(rows) {
  const present = Object.keys(figures).filter((figure) => rows.some((row) => row[figure] !== undefined));
  const main = compared.find((figure) => present.includes(figure));
  return table(
    [...byPeer(rows)].map(([peer, mine]) => ({
      '': peers[peer].title,
      ...Object.fromEntries(present.map((figure) => [figures[figure].title, cell(mine, figure)])),
      [`${figures[main].title}: ours ÷ this`]: rows.some((row) => row.peer === 'ours')
        ? ratio(rows, main, 'ours', peer).toFixed(2)
        : '–',
    })),
  );
}

function cell(rows, figure) {
  const values = rows.map((row) => row[figure]);
  return values.includes(undefined) ? '–' : spread(values, figures[figure].digits);
}
