// The tests in JavaScript on several versions of Node.js, one after the other, and a table of what passed where. Each version comes from the npm
// package of its binary, once, into target/tools; nothing is added to the project's dependencies. Builds first.
// Usage: node scripts/test-nodes.mjs [--node 22,24] [part of a test file's path …]
import { spawnSync } from 'node:child_process';
import { basename, relative } from 'node:path';
import { build } from './build.mjs';
import { root } from './project.mjs';
import { Failure, parse, say, seconds, whenStarted } from './run.mjs';
import { nodeOf, nodes } from './runtimes.mjs';
import { testFiles, testLimits } from './test.mjs';

/** The lines of Node.js that are maintained, besides the oldest one that is supported, which `npm test` runs on. */
const { node20: _, ...maintained } = nodes;
const versions = Object.values(maintained);

/** Runs the files; by file: how many tests passed, failed and were skipped, and the names of those that failed. */
function runOn(binary, files) {
  const { flags, timeoutMs } = testLimits;
  const reporter = '--test-reporter=./scripts/test-counts.mjs';
  const { stdout, error } = spawnSync(binary, ['--test', reporter, ...flags, ...files], {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 256 * 1024 * 1024,
    timeout: timeoutMs * files.length,
  });
  if (error !== undefined) throw new Failure(`${binary}: ${error.message}`);
  const counts = new Map(files.map((file) => [file, { passed: 0, skipped: 0, failed: [] }]));
  for (const line of stdout.split('\n').filter((text) => text.startsWith('{'))) {
    const { file, name, result } = JSON.parse(line);
    const count = counts.get(relative(root, file).split('\\').join('/'));
    if (count === undefined) throw new Failure(`a test of ${file}, which was not asked for: ${name}`);
    if (result === 'failed') count.failed.push(name);
    else count[result]++;
  }
  return counts;
}

/** A row for each file, a column for each version. */
function print(files, results) {
  const width = Math.max(...files.map((file) => file.length));
  const row = (first, cells) => console.log([first.padEnd(width), ...cells.map((cell) => cell.padEnd(24))].join('  '));
  row(
    '',
    [...results.keys()].map((version) => `Node.js ${version}`),
  );
  for (const file of files)
    row(
      file,
      [...results.values()].map((counts) => cellOf(counts.get(file))),
    );
}

function cellOf({ passed, skipped, failed }) {
  const parts = [`${passed} passed`];
  if (skipped > 0) parts.push(`${skipped} skipped`);
  if (failed.length > 0) parts.push(`${failed.length} FAILED`);
  return passed + skipped + failed.length === 0 ? 'NOTHING RAN' : parts.join(', ');
}

whenStarted(import.meta.url, (args) => {
  const { options, rest } = parse(args, { '--node': 'value' });
  const wanted = options['--node']?.split(',');
  const chosen = versions.filter((version) => wanted === undefined || wanted.includes(version.split('.')[0]));
  if (chosen.length === 0) throw new Failure(`known are ${versions.join(', ')}; write --node 22,24`, 2);
  const files = testFiles(rest);
  build();
  const results = new Map();
  for (const version of chosen) {
    const binary = nodeOf(version);
    const start = performance.now();
    say(`${basename(binary)} ${version}, ${files.length} files`);
    results.set(version, runOn(binary, files));
    say(`${basename(binary)} ${version}: done in ${seconds(performance.now() - start)}`);
  }
  print(files, results);
  const wrong = [...results].flatMap(([version, counts]) =>
    [...counts].flatMap(([file, { passed, skipped, failed }]) =>
      passed + skipped + failed.length === 0
        ? [`${version}: ${file}: nothing ran`]
        : failed.map((name) => `${version}: ${file}: ${name}`),
    ),
  );
  if (wrong.length > 0) throw new Failure(wrong.join('\n'));
});
