// Fuzzes the engine's pure parts with libFuzzer: docs/fuzzing.md. Builds the targets of fuzz/, runs one after the other from the
// committed corpus, prints what each did. Ends with a failure when an input crashed, and says how to see that again.
//
// Invariant: the tree stays clean. Finds, crashes and logs go below target/; only --update-corpus writes into fuzz/corpus.
import { spawn } from 'node:child_process';
import { copyFileSync, createWriteStream, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fromRoot, root } from './project.mjs';
import { requireAll } from './requirements.mjs';
import { Failure, parse, probe, run, say, seconds as shown, timed, whenStarted } from './run.mjs';

const usage = `usage: npm run fuzz -- [target …] [--seconds N] [--sanitizer NAME] [--update-corpus] [--replay FILE]
  target           ${targets().join(', ')}; without: all of them
  --seconds N      so long for each target (600)
  --sanitizer NAME address (default) or none
  --update-corpus  afterwards, keeps what adds coverage in fuzz/corpus; with --seconds 0 nothing else
  --replay FILE    runs one target with one input and nothing else`;

/** One corpus at most; engine/tests/corpus.rs holds it. */
const maxCorpus = { files: 200, bytes: 200 * 1024 };

/** The longest input: some messages must be longer than the buffers that are kept. */
const maxInputBytes = 16_384;

/** An input that takes longer than this, or more memory, is a failure. Generous: a sanitizer is at work, the machine may be busy. */
const slowestInputSeconds = 20;
const memoryMb = 2048;

/** How often a running target is reported. */
const reportMs = 60_000;

/** Inputs written by hand: they keep their names, and stay in the corpus whatever they add. */
const isSeed = (name) => name.startsWith('seed-');

whenStarted(import.meta.url, async (args) => {
  const options = optionsOf(args);
  if (options === null) return process.stdout.write(`${usage}\n`);
  requireAll();
  const fuzzers = buildTargets(options.sanitizer);
  if (options.replay !== undefined) return replay(fuzzers, options.targets[0], options.replay);
  const results = [];
  if (options.seconds > 0)
    for (const target of options.targets) results.push(await fuzz(fuzzers, target, options.seconds));
  if (results.length > 0) process.stdout.write(`\n${table(results)}\n\n`);
  const crashed = results.filter((result) => result.failure !== null);
  for (const result of crashed) tell(result);
  if (options.update) for (const target of options.targets) await updateCorpus(fuzzers, target);
  if (crashed.length > 0) throw new Failure(`inputs were found that fail: ${crashed.map((r) => r.target).join(', ')}`);
});

function optionsOf(args) {
  const { options, rest } = parse(args, {
    '--seconds': 'value',
    '--sanitizer': 'value',
    '--update-corpus': 'flag',
    '--replay': 'value',
    '--help': 'flag',
  });
  if (options['--help']) return null;
  for (const name of rest)
    if (!targets().includes(name)) throw new Failure(`there is no target "${name}"\n${usage}`, 2);
  const [update, replay] = [options['--update-corpus'] ?? false, options['--replay']];
  const seconds = Number(options['--seconds'] ?? '600');
  if (!Number.isInteger(seconds) || seconds < (update ? 0 : 1))
    throw new Failure(`--seconds must be a positive integer, got ${options['--seconds']}`, 2);
  const sanitizer = options['--sanitizer'] ?? 'address';
  if (!['address', 'none'].includes(sanitizer))
    throw new Failure(`--sanitizer must be address or none, got ${sanitizer}`, 2);
  if (replay !== undefined && rest.length !== 1) throw new Failure(`--replay needs one target\n${usage}`, 2);
  return { targets: rest.length > 0 ? rest : targets(), seconds, sanitizer, update, replay };
}

/** One file of fuzz/fuzz_targets, one target. */
function targets() {
  return readdirSync(fromRoot('fuzz/fuzz_targets')).map((name) => name.replace(/\.rs$/, ''));
}

/** Builds all targets; returns the folder of the programs. */
function buildTargets(sanitizer) {
  if (process.platform === 'win32') throw new Failure('the fuzzers run on Linux and macOS');
  const [command, ...args] = cargoFuzz();
  const folder = fromRoot('target', sanitizer === 'none' ? 'fuzz-plain' : 'fuzz');
  const first = existsSync(folder) ? '' : ' (the first time takes about 3 minutes)';
  timed(`building the fuzz targets, sanitizer ${sanitizer}${first}`, () =>
    run(command, [...args, 'build', '--fuzz-dir', fromRoot('fuzz'), '--target-dir', folder, '--sanitizer', sanitizer], {
      quiet: true,
      env: unstable(),
    }),
  );
  return join(folder, hostTriple(), 'release');
}

/** Coverage and sanitizers are options that rustc calls unstable; a stable one has them, too, when it is told so. */
function unstable() {
  return /nightly|dev/.test(probe('rustc', ['--version']) ?? '') ? {} : { RUSTC_BOOTSTRAP: '1' };
}

/** cargo-fuzz: the one that is installed, else one below target/. */
function cargoFuzz() {
  if (probe('cargo', ['fuzz', '--version']) !== null) return ['cargo', 'fuzz'];
  const tools = fromRoot('target', 'tools');
  const own = join(tools, 'bin', 'cargo-fuzz');
  if (!existsSync(own))
    timed('cargo-fuzz is missing: installing it below target/tools (about 1 minute)', () =>
      run('cargo', ['install', 'cargo-fuzz', '--locked', '--root', tools], { quiet: true }),
    );
  return [own, 'fuzz'];
}

function hostTriple() {
  const host = /^host: (.+)$/m.exec(probe('rustc', ['-vV']) ?? '')?.[1];
  if (host === undefined) throw new Failure('rustc does not say for which machine it compiles');
  return host;
}

const foldersOf = (target) => ({
  corpus: fromRoot('fuzz', 'corpus', target),
  finds: fromRoot('target', 'fuzz-corpus', target),
  crashes: fromRoot('target', 'fuzz-crashes', target),
  log: fromRoot('target', 'fuzz-logs', `${target}.log`),
});

/** Runs one target for so many seconds; what it found is in the result. */
async function fuzz(fuzzers, target, limit) {
  const { corpus, finds, crashes, log } = foldersOf(target);
  for (const folder of [finds, crashes, fromRoot('target', 'fuzz-logs')]) mkdirSync(folder, { recursive: true });
  const known = new Set(readdirSync(crashes));
  say(`${target}: ${limit} s`);
  const start = performance.now();
  const dictionary = fromRoot('fuzz', 'dictionaries', `${target}.dict`);
  const { status, lines } = await observed(target, log, join(fuzzers, target), [
    ...limits,
    `-max_total_time=${limit}`,
    '-print_final_stats=1',
    `-artifact_prefix=${crashes}/`,
    ...(existsSync(dictionary) ? [`-dict=${dictionary}`] : []),
    finds,
    corpus,
  ]);
  const inputs = readdirSync(crashes).filter((name) => !known.has(name) && !name.startsWith('slow-unit-'));
  return {
    target,
    ran: performance.now() - start,
    ...lines.figures,
    failure:
      status === 0 ? null : { status, text: lines.failure, inputs: inputs.map((name) => join(crashes, name)), log },
  };
}

const limits = [`-max_len=${maxInputBytes}`, `-timeout=${slowestInputSeconds}`, `-rss_limit_mb=${memoryMb}`];

/** Runs a fuzzer: its output goes to a log, its figures are read from it. */
async function observed(target, log, command, args) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
  const [output, lines] = [createWriteStream(log), new Lines()];
  let reported = performance.now();
  createInterface({ input: child.stderr }).on('line', (line) => {
    output.write(`${line}\n`);
    if (lines.take(line) && performance.now() - reported > reportMs) {
      reported = performance.now();
      say(`${target}: ${lines.figures.executions} executions, cov ${lines.figures.cov}, ft ${lines.figures.ft}`);
    }
  });
  const [code, signal] = await new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new Failure(`could not run "${command}": ${error.message}`)));
    child.on('close', (...how) => resolve(how));
  });
  output.end();
  return { status: code ?? signal, lines };
}

/** Lines behind the head of a panic that are its message. */
const messageLines = 4;

/** What libFuzzer prints: `#123 NEW cov: 1 ft: 2 corp: 3/4b …`, statistics at the end; and what a panic or a sanitizer says. */
class Lines {
  figures = { executions: 0, cov: 0, ft: 0, inputs: 0 };
  failure = [];
  #expected = 0;

  /** True for a line with figures. */
  take(line) {
    const status = /^#(\d+)\s.*\bcov: (\d+) ft: (\d+) corp: (\d+)\//.exec(line);
    if (status !== null) {
      const [executions, cov, ft, inputs] = status.slice(1).map(Number);
      this.figures = { executions, cov, ft, inputs };
    }
    const total = /^stat::number_of_executed_units:\s*(\d+)/.exec(line);
    if (total !== null) this.figures.executions = Number(total[1]);
    this.#takeFailure(line);
    return status !== null;
  }

  #takeFailure(line) {
    const isPanic = / panicked at /.test(line);
    if (/^(stack backtrace|note):/.test(line)) this.#expected = 0;
    if (isPanic || this.#expected > 0 || /^SUMMARY: |^==\d+==ERROR/.test(line)) this.failure.push(line);
    this.#expected = isPanic ? messageLines : this.#expected - 1;
  }
}

function table(results) {
  const rows = results.map(({ target, ran, executions, cov, ft, inputs, failure }) => ({
    target,
    seconds: Math.round(ran / 1000),
    executions,
    'executions/s': Math.round(executions / (ran / 1000)),
    cov,
    ft,
    'corpus, inputs': inputs,
    crashes: failure === null ? 0 : Math.max(1, failure.inputs.length),
  }));
  const names = Object.keys(rows[0]);
  const widths = names.map((name) => Math.max(name.length, ...rows.map((row) => String(row[name]).length)));
  const line = (cells) => `| ${cells.map((cell, i) => String(cell).padEnd(widths[i])).join(' | ')} |`;
  const rule = line(widths.map((width) => '-'.repeat(width)));
  return [line(names), rule, ...rows.map((row) => line(names.map((name) => row[name])))].join('\n');
}

function tell({ target, ran, failure }) {
  say(`${target} failed after ${shown(ran)} (exit ${failure.status}); all of its output: ${short(failure.log)}`);
  for (const line of failure.text) process.stderr.write(`    ${line}\n`);
  for (const input of failure.inputs)
    say(`the input: ${short(input)}; again: npm run fuzz -- ${target} --replay ${short(input)}`);
}

const short = (path) => relative(root, path);

/** npm runs scripts in the package's folder and keeps the user's in INIT_CWD. */
function replay(fuzzers, target, file) {
  const here = [process.env.INIT_CWD ?? process.cwd(), root].map((folder) => resolve(folder, file)).find(existsSync);
  if (here === undefined) throw new Failure(`there is no file ${file}`, 2);
  run(join(fuzzers, target), [...limits, here]);
  say('this input does not fail');
}

/**
 * Makes the committed corpus anew: the seeds; then few inputs that reach every place that any input reaches; then, while there is room,
 * those that reach a place more or less often.
 */
async function updateCorpus(fuzzers, target) {
  const { corpus, finds } = foldersOf(target);
  const merged = fromRoot('target', 'fuzz-merge', target);
  rmSync(merged, { recursive: true, force: true });
  for (const folder of [merged, finds, fromRoot('target', 'fuzz-logs')]) mkdirSync(folder, { recursive: true });
  copyAll(corpus, merged, readdirSync(corpus).filter(isSeed));
  const merge = async (...how) => {
    const log = fromRoot('target', 'fuzz-logs', `${target}.merge.log`);
    const args = ['-set_cover_merge=1', ...how, ...limits, merged, corpus, finds];
    const { status } = await observed(target, log, join(fuzzers, target), args);
    if (status !== 0)
      throw new Failure(`minimising the corpus of ${target} failed (exit ${status}): see ${short(log)}`);
  };
  say(`${target}: minimising the corpus`);
  await merge('-use_counters=0');
  const reaching = new Set(readdirSync(merged));
  await merge();
  for (const name of readdirSync(corpus)) if (!isSeed(name)) rmSync(join(corpus, name));
  const { kept, left } = withinBounds(merged, (name) => (isSeed(name) ? 0 : reaching.has(name) ? 1 : 2));
  copyAll(merged, corpus, kept);
  say(`${target}: ${kept.length} inputs in ${short(corpus)}; ${left} that would add less are left out`);
}

/** By rank, then the smallest first, as many as may be committed. */
function withinBounds(folder, rankOf) {
  const files = readdirSync(folder)
    .map((name) => ({ name, rank: rankOf(name), size: statSync(join(folder, name)).size }))
    .sort((a, b) => a.rank - b.rank || a.size - b.size);
  let bytes = 0;
  const kept = files.filter(({ size }, index) => {
    bytes += size;
    return index < maxCorpus.files && bytes <= maxCorpus.bytes;
  });
  return { kept: kept.map(({ name }) => name), left: files.length - kept.length };
}

function copyAll(from, to, names) {
  for (const name of names) copyFileSync(join(from, name), join(to, name));
}
