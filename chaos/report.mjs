// The table at the end of a run. Does not judge; but what was asked for and did not happen makes a run wrong as well.

/** Makes `{ text, isRight }` of a result. */
export function render(options, result, seconds) {
  const { verdict, struck, trouble, drops, slowConsumers, gapsOut, published, elapsedMs } = result;
  const { missing, counts } = verdict;
  const rows = [
    ['events published', published],
    ['deliveries', verdict.deliveries],
    ...Object.entries(struck)
      .sort()
      .map(([kind, count]) => [kind, count]),
    ['gaps at subscribers', total(verdict.gaps)],
    ...entries('  cause', verdict.gaps),
    ['gaps out at publishers', gapsOut],
    ['cut by the hub as too slow', slowConsumers],
    ['holes at subscribers', missing.holes],
    ...entries('  events in an own gap,', missing.ownGap),
    ["  events in a publisher's gap out", missing.lost],
    ['  events counted as dropped', missing.dropped],
    ['  events not listened to', missing.notWanted],
    ['events dropped by publishers, counted and told', drops],
    ['unexplained', counts.unexplained],
    ['duplicates', counts.duplicate],
    ['reorderings', counts.reordering],
    ['events of nobody', counts.foreign],
    ['other trouble', trouble.length],
    ['time', seconds(elapsedMs)],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}  ${String(value).padStart(12)}`);
  const complaints = [...verdict.violations.map((found) => JSON.stringify(found)), ...trouble.slice(0, 20)];
  const missed = expected(options).filter(([kind, count]) => total(byKind(struck, kind)) !== count);
  for (const [kind, count] of missed) complaints.push(`${count} × ${kind} should have struck`);
  const isRight = verdict.isRight && trouble.length === 0 && missed.length === 0;
  return { text: [...lines, ...complaints.map((text) => `WRONG: ${text}`)].join('\n'), isRight };
}

function expected({ cuts, stalls, lags, restarts, rests, floods }) {
  return Object.entries({ cut: cuts, stall: stalls, lag: lags, restart: restarts, rest: rests, flood: floods });
}

function byKind(struck, kind) {
  return Object.fromEntries(Object.entries(struck).filter(([name]) => name.split(',')[0] === kind));
}

function entries(prefix, counts) {
  return Object.entries(counts)
    .sort()
    .map(([name, count]) => [`${prefix} ${name}`, count]);
}

function total(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
