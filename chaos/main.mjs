// Numbered events through a network that fails: `npm run chaos`. Prints the seed first and a table last; the exit code tells.
// Usage: npm run chaos -- [--seed N] [--events 1000000] [--subscribers 10] [--publishers 4] [--cuts 50] [--stalls 25] [--lags 10]
//          [--restarts 8] [--rests 10] [--floods 5] [--rate 12000] [--bytes 100] [--schedule] [--release | --no-build]
import { build } from '../scripts/build.mjs';
import { Failure, parse, seconds, whenStarted } from '../scripts/run.mjs';

/** Option, default, meaning. */
const numbers = [
  ['seed', undefined, 'the schedule follows from it; without one a random one is taken'],
  ['events', 1_000_000, 'published in all, the hub and each publishing spoke the same'],
  ['subscribers', 10, 'spokes that hear all events'],
  ['publishers', 4, 'spokes that publish besides the hub'],
  ['cuts', 50, 'links that are cut, reset or half-closed'],
  ['stalls', 25, 'links that stand still for 30 ms to 3.5 s'],
  ['lags', 10, 'links that are delayed, with jitter'],
  ['restarts', 8, 'of the hub: in turn orderly with 1012, and killed'],
  ['rests', 10, 'subscribers that stop listening and begin again'],
  ['floods', 5, 'a burst of large events while one subscriber stands still'],
  ['rate', 12_000, 'events a second at most, all publishers together'],
  ['bytes', 100, 'that an event carries besides its numbers'],
];

const usage = `usage: npm run chaos -- [options]
${numbers.map(line).join('\n')}
  --schedule        prints the schedule and runs nothing
  --release         builds and uses the optimized addon
  --no-build        uses what is built`;

whenStarted(import.meta.url, async (args) => {
  const flags = { '--schedule': 'flag', '--release': 'flag', '--no-build': 'flag', '--help': 'flag' };
  const known = Object.fromEntries(numbers.map(([name]) => [`--${name}`, 'value']));
  const { options: given, rest } = parse(args, { ...flags, ...known });
  if (given['--help']) return process.stdout.write(`${usage}\n`);
  if (rest.length > 0) throw new Failure(`unexpected "${rest[0]}"\n${usage}`, 2);
  const options = readNumbers(given);
  print(`seed ${options.seed}`);
  if (!given['--no-build']) build({ release: given['--release'] });
  const { makeSchedule, describe } = await import('./schedule.mjs');
  const schedule = makeSchedule(options);
  if (given['--schedule']) return print(schedule.map(describe).join('\n'));
  const { run } = await import('./run.mjs');
  const { render } = await import('./report.mjs');
  const result = await run(options, schedule, print);
  const { text, isRight } = render(options, result, seconds);
  print(text);
  if (!isRight) throw new Failure(`what was heard is not what was promised; the same schedule: --seed ${options.seed}`);
});

function line([name, value, text]) {
  const option = `  --${name} N`.padEnd(20);
  return `${option}${text}${value === undefined ? '' : ` (${value})`}`;
}

function readNumbers(given) {
  const options = {};
  for (const [name, value] of numbers) {
    const text = given[`--${name}`];
    options[name] = text === undefined ? (value ?? Math.floor(Math.random() * 2 ** 31)) : Number(text);
    const least = ['events', 'subscribers', 'publishers', 'rate'].includes(name) ? 1 : 0;
    if (!Number.isSafeInteger(options[name]) || options[name] < least || options[name] >= 2 ** 32)
      throw new Failure(`--${name} must be a whole number from ${least} on, got ${text}`, 2);
  }
  return options;
}

function print(text) {
  process.stdout.write(`${text}\n`);
}
