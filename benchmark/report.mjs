// Plots and tables of docs/performance.md from the rows of `npm run bench`: `npm run bench:report -- [rows.json]`. Rows that are given are kept in
// docs/performance/rows.json. Text between the marks `bench:<name>` and `bench:end` is replaced; the rest of the page is not touched.

import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fromRoot } from '../scripts/project.mjs';
import { Failure, parse, whenStarted } from '../scripts/run.mjs';
import { median } from './measure.mjs';
import { peers, scenarios } from './scenarios.mjs';
import { barChart, lineChart } from './svg.mjs';
import { figures, tableOf } from './tables.mjs';

const folder = fromRoot('docs/performance');
const page = fromRoot('docs/performance.md');
const everybody = ['ours', 'ws', 'socketio', 'bun', 'bare-each', 'bare-shared'];
const hubs = everybody.slice(0, 4);

const fanOuts = {
  'fan-out-100': '1 a turn, 100',
  'fan-out-1000': '1 a turn, 1000',
  'burst-100': '16 a turn, 100',
  'burst-1000': '16 a turn, 1000',
  'paced-1000': '40 a second, 1000',
};
const sizes = [100, 1000, 5000];

const plots = {
  'fan-out-rate': () =>
    bars('Deliveries per second', 'perSecond', everybody, {
      ...fanOuts,
      'topics-100': '100 topics',
      relay: 'relay to 100',
    }),
  'fan-out-cost': () => bars('Processor time of the hub per delivery, µs', 'hubUs', everybody, fanOuts),
  'trip-latency': () =>
    bars('Round trip, p50 µs', 'p50us', hubs, {
      'answer-1': 'answered, 1',
      'answer-64': 'answered, 64',
      'relay-1': 'relayed, 1',
      'relay-64': 'relayed, 64',
      'clients-1': 'own clients, 1',
      'clients-64': 'own clients, 64',
    }),
  'growth-cost': () => growth('Bursts of 16, one under way: processor time of the hub per delivery, µs', 'hubUs'),
  'growth-memory': () => growth('Memory per connection, KiB', 'connectionKiB'),
};

let rows = [];

whenStarted(import.meta.url, (args) => {
  const { rest } = parse(args, {});
  if (rest.length > 1) throw new Failure('usage: npm run bench:report -- [rows.json]', 2);
  const kept = `${folder}/rows.json`;
  if (rest.length === 1) copyFileSync(resolve(rest[0]), kept);
  rows = JSON.parse(readFileSync(kept, 'utf8'));
  for (const [name, draw] of Object.entries(plots)) writeFileSync(`${folder}/${name}.svg`, draw());
  const text = readFileSync(page, 'utf8').replace(
    /(<!-- bench:(?!end)([\w,-]+) -->\n)[\s\S]*?(<!-- bench:end -->)/g,
    (_, begin, names, end) => `${begin}\n${names.split(',').map(section).join('\n\n')}\n\n${end}`,
  );
  writeFileSync(page, text);
});

function section(name) {
  const own = rows.filter(({ scenario }) => scenario === name);
  if (own.length === 0) throw new Failure(`the rows know no scenario ${name}`);
  return `**${scenarios[name].title}** (\`${name}\`)\n\n${tableOf(own)}`;
}

function middle(scenario, peer, figure) {
  const values = rows.filter((row) => row.scenario === scenario && row.peer === peer && row[figure] !== undefined);
  return values.length === 0 ? undefined : median(values.map((row) => row[figure]));
}

const plain = (peer) => peers[peer].title.replaceAll('`', '');

function bars(title, figure, who, labels) {
  const groups = Object.entries(labels).map(([scenario, label]) => ({
    label,
    values: who.map((peer) => middle(scenario, peer, figure)),
  }));
  return barChart({
    title: `${title} (${figures[figure].isMoreBetter ? 'more' : 'less'} is better)`,
    series: who.map(plain),
    groups,
  });
}

function growth(title, figure) {
  const who = [...hubs, 'bare-shared'];
  const lines = who.map((peer) => sizes.map((size) => middle(`growth-${size}`, peer, figure)));
  return lineChart({ title, series: who.map(plain), xs: sizes, lines, xTitle: 'connections' });
}
