// The main job over two hubs that a Redis joins: builds what is missing, starts a redis-server if none is named, then runs examples/main-job.
// Usage: npm run example:redis -- [file | -] [--url URL] [--subscribers N] [--quiet] [--no-build]
import { build } from './build.mjs';
import { Failure, parse, probe, say, whenStarted } from './run.mjs';
import { inputPath, subscriberCount } from './start.mjs';

const usage = `usage: npm run example:redis -- [file | -] [--url URL] [--subscribers N] [--quiet] [--no-build]
  file             its lines are published; "-": standard input; without: README.md
  --url URL        the Redis or Valkey that joins the hubs; without: a redis-server on a free port, or what REDIS_SERVER names
  --subscribers N  subscribing processes, 2 to 64, which take turns with the hubs (2)
  --quiet          the summary only
  --no-build       use what is built`;

whenStarted(import.meta.url, async (args) => {
  const { options, rest } = parse(args, {
    '--url': 'value',
    '--subscribers': 'value',
    '--quiet': 'flag',
    '--no-build': 'flag',
    '--help': 'flag',
  });
  if (options['--help']) return process.stdout.write(`${usage}\n`);
  if (rest.length > 1) throw new Failure(`one input at a time\n${usage}`, 2);
  const input = inputPath(rest[0]);
  const subscribers = subscriberCount(options['--subscribers'] ?? '2', 2);
  if (!options['--no-build']) build();
  const server = options['--url'] === undefined ? await ownServer() : { url: options['--url'], stop: async () => {} };
  try {
    await run({ input, subscribers, quiet: options['--quiet'] ?? false, transport: 'websocket', redis: server.url });
  } finally {
    await server.stop();
  }
});

async function run(options) {
  const { runMainJob } = await import('../examples/main-job/main.mjs');
  say(`publishing at hub 1, ${options.subscribers} subscribers at two hubs that a Redis joins`);
  const problem = await runMainJob(options);
  if (problem !== null) throw new Failure(problem);
  say('every subscriber of both hubs has everything');
}

async function ownServer() {
  const named = [process.env.REDIS_SERVER, 'redis-server', 'valkey-server'];
  const program = named.find((name) => name && probe(name, ['--version']) !== null);
  const remedy = 'name one with --url, or install it (Debian, Ubuntu: "apt-get install redis-server")';
  if (program === undefined) throw new Failure(`there is no redis-server: ${remedy}`, 2);
  const { startServer } = await import('../examples/redis/server.mjs');
  const server = await startServer(program);
  say(`${program} listens at ${server.url}`);
  return server;
}
