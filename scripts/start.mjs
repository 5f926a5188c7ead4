// The main job in one command: builds what is missing, then runs examples/main-job.
// Usage: npm start -- [file | -] [--subscribers N] [--transport T] [--quiet] [--release | --no-build]
import { accessSync, constants, statSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { build } from './build.mjs';
import { fromRoot } from './project.mjs';
import { Failure, parse, say, whenStarted } from './run.mjs';

const usage = `usage: npm start -- [file | -] [--subscribers N] [--transport T] [--quiet] [--release | --no-build]
  file             its lines are published; "-": standard input; without: README.md
  --subscribers N  subscribing processes, 1 to 64 (3)
  --transport T    what the links go over: websocket (without) or iroh
  --quiet          the summary only
  --release        build and use the optimized addon
  --no-build       use what is built`;

whenStarted(import.meta.url, async (args) => {
  const { options, rest } = parse(args, {
    '--subscribers': 'value',
    '--transport': 'value',
    '--quiet': 'flag',
    '--release': 'flag',
    '--no-build': 'flag',
    '--help': 'flag',
  });
  if (options['--help']) return process.stdout.write(`${usage}\n`);
  if (rest.length > 1) throw new Failure(`one input at a time\n${usage}`, 2);
  const input = inputPath(rest[0]);
  const subscribers = subscriberCount(options['--subscribers'] ?? '3');
  const transport = transportNamed(options['--transport'] ?? 'websocket');
  if (!options['--no-build']) build({ release: options['--release'] });
  const { runMainJob } = await import('../examples/main-job/main.mjs');
  say(
    `publishing ${input === '-' ? 'standard input' : relative(process.cwd(), input) || input} to ${subscribers} subscribers over ${transport}`,
  );
  const problem = await runMainJob({ input, subscribers, transport, quiet: options['--quiet'] ?? false });
  if (problem !== null) throw new Failure(problem);
  say('every subscriber has everything');
});

/** An absolute path to a readable file, or "-". npm runs scripts in the package's folder and keeps the user's in INIT_CWD. */
export function inputPath(argument) {
  if (argument === '-') return argument;
  const path =
    argument === undefined ? fromRoot('README.md') : resolve(process.env.INIT_CWD ?? process.cwd(), argument);
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    const reason =
      error.code === 'ENOENT'
        ? 'there is no such file'
        : error.code === 'EACCES'
          ? 'it may not be read'
          : error.message;
    throw new Failure(`cannot publish ${argument ?? path}: ${reason}`, 2);
  }
  if (statSync(path).isDirectory()) throw new Failure(`cannot publish ${argument}: it is a folder`, 2);
  return path;
}

function transportNamed(text) {
  const known = ['websocket', 'iroh'];
  if (!known.includes(text)) throw new Failure(`--transport must be ${known.join(' or ')}, got ${text}`, 2);
  return text;
}

export function subscriberCount(text, least = 1) {
  const count = Number(text);
  if (!Number.isInteger(count) || count < least || count > 64)
    throw new Failure(`--subscribers must be a whole number from ${least} to 64, got ${text}`, 2);
  return count;
}
