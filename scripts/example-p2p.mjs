// The main job peer to peer: builds what is missing, then runs the parts of examples/p2p one after the other on the same input.
// Usage: npm run example:p2p -- [file] [--subscribers N] [--quiet] [--no-build]
import { build, buildRelay } from './build.mjs';
import { Failure, parse, say, whenStarted } from './run.mjs';
import { inputPath, subscriberCount } from './start.mjs';

const usage = `usage: npm run example:p2p -- [file] [--subscribers N] [--quiet] [--no-build]
  file             its lines are published, once in each part; without: README.md
  --subscribers N  subscribing processes, 1 to 64 (3)
  --quiet          the summaries only
  --no-build       use what is built`;

whenStarted(import.meta.url, async (args) => {
  const { options, rest } = parse(args, {
    '--subscribers': 'value',
    '--quiet': 'flag',
    '--no-build': 'flag',
    '--help': 'flag',
  });
  if (options['--help']) return process.stdout.write(`${usage}\n`);
  if (rest.length > 1) throw new Failure(`one input at a time\n${usage}`, 2);
  if (rest[0] === '-') throw new Failure('standard input can be read once, and each part reads it: name a file', 2);
  const input = inputPath(rest[0]);
  const subscribers = subscriberCount(options['--subscribers'] ?? '3');
  if (!options['--no-build']) {
    build();
    buildRelay();
  }
  const { parts } = await import('../examples/p2p/main.mjs');
  for (const { title, run } of parts) {
    say(`${title}: ${subscribers} subscribers`);
    const problem = await run({ input, subscribers, quiet: options['--quiet'] ?? false });
    if (problem !== null) throw new Failure(`${title}: ${problem}`);
  }
  say('every subscriber of each part has everything');
});
