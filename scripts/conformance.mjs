// Runs the conformance suite on every target and prints the matrix; with --write it becomes the table of docs/conformance.md.
// Fails when a case fails, a suite is skipped or belongs to no column. Usage: node scripts/conformance.mjs [--write]
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { casesOf } from '../__test__/conformance/cases.mjs';
import { besides, columns, noteOf, notes } from '../__test__/conformance/targets.mjs';
import { build, buildRelay } from './build.mjs';
import { fromRoot, root } from './project.mjs';
import { Failure, parse, say, whenStarted } from './run.mjs';

const page = 'docs/conformance.md';

const files = [
  ...readdirSync(fromRoot('__test__/conformance'))
    .filter((name) => name.endsWith('.test.mjs'))
    .map((name) => `__test__/conformance/${name}`),
  '__test__/browser/conformance.test.mjs',
  '__test__/runtimes/conformance.test.mjs',
];

/** Sentences of all suites, in the order of the suite. */
export const sentences = [
  ...new Set(
    [{ echo: false }, { echo: true }].flatMap((extra) =>
      casesOf({ transport: true, acknowledges: true, ...extra }).map(([sentence]) => sentence),
    ),
  ),
];

/** The page, as it is when every case passes: what the test compares, and what a run without failures writes. */
export function pageOf() {
  const letters = columns.map((_, i) => String(i + 1));
  const row = (cells) => `| ${cells.join(' | ')} |`;
  const cellOf = (column, sentence) =>
    cellIsThere(column, sentence) ? 'yes' : `– ${noteOf(column, sentence, casesOf) ?? '?'}`;
  return [
    '# Conformance',
    '',
    'One suite, `__test__/conformance/cases.mjs`, says what every target has to do, over a pair of targets: whatever one publishes the other hears. This page is',
    'written by a run of it (`npm run conformance -- --write`), which fails when a case fails or a target is left out; a test compares the page with the',
    'suite. CI runs every suite that is named here.',
    '',
    '## Targets',
    '',
    row(['', 'target', 'arrangements', 'suites']),
    row(['---', '---', '---', '---']),
    ...columns.map(({ title, what, suites }, i) => row([letters[i], title, what, suites.length])),
    '',
    'Suites that run in a page, in Bun and in Deno run there, target, listeners and all. With a worker in Chromium the end in the worker is driven by messages,',
    'so that misuse which throws is looked for at the end in the page.',
    '',
    '## Matrix',
    '',
    row(['case', ...letters]),
    row(['---', ...letters.map(() => '---')]),
    ...sentences.map((sentence) => row([sentence, ...columns.map((column) => cellOf(column, sentence))])),
    '',
    ...Object.entries(notes).map(([letter, why]) => `- – ${letter}: ${why}`),
    '',
  ].join('\n');
}

function cellIsThere({ capabilities }, sentence) {
  const echoes = capabilities.echo === 'both' ? [true, false] : [capabilities.echo];
  return echoes.some((echo) => casesOf({ ...capabilities, echo }).some(([other]) => other === sentence));
}

/** What is wrong with a run; empty when the page may be written. */
function problemsOf(results) {
  const problems = results
    .filter(({ suite, passed, why }) => !passed && !(besides.includes(suite) && why.startsWith('skipped: ')))
    .map(({ suite, sentence, why }) => `${suite}: ${sentence ?? ''} ${why}`);
  const known = new Set([...columns.flatMap(({ suites }) => suites), ...besides]);
  const ran = new Set(results.map(({ suite }) => suite));
  for (const suite of ran)
    if (!known.has(suite) && !results.some((one) => one.suite === suite && !one.passed))
      problems.push(`${suite}: belongs to no column of targets.mjs`);
  for (const column of columns) {
    const own = results.filter(({ suite }) => column.suites.includes(suite));
    for (const suite of column.suites) if (!ran.has(suite)) problems.push(`${suite}: did not run`);
    for (const sentence of sentences)
      if (cellIsThere(column, sentence) && !own.some((one) => one.sentence === sentence))
        problems.push(`${column.title}: nobody ran "${sentence}"`);
  }
  return problems;
}

function runAll() {
  const reporter = '--test-reporter=./__test__/conformance/reporter.mjs';
  const args = ['--test', '--test-concurrency=1', reporter, ...files];
  // Cases that fail are in the output; what Node.js says of files goes to the terminal.
  const { stdout } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

whenStarted(import.meta.url, (args) => {
  const { options } = parse(args, { '--write': 'flag' });
  build();
  buildRelay();
  say(`the conformance suite on ${columns.length} targets`);
  const results = runAll();
  const problems = problemsOf(results);
  const cases = results.filter(({ sentence }) => sentence !== undefined);
  console.log(pageOf());
  say(`${cases.length} cases in ${new Set(cases.map(({ suite }) => suite)).size} suites, ${problems.length} problems`);
  if (problems.length > 0) throw new Failure(problems.join('\n'));
  if (options['--write']) writeFileSync(fromRoot(page), pageOf());
});
