// What README promises a new user, done as it says, in an empty folder on a machine with one runtime: its programs, its commands, its page. Takes
// them from README itself. Does not decide what stands there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { openPage, startChromium, withoutChromium } from '../__test__/browser/chromium.mjs';
import { sectionOf } from '../__test__/package/doc-blocks.mjs';
import { eventually } from '../__test__/websocket/facts.mjs';
import { expectSame, freshEnvironment, npmScript } from './fresh.mjs';
import { Failure, say, seconds } from './run.mjs';
import { nodeOf, nodes, runtimeOf } from './runtimes.mjs';

const page = 'README.md';

/** What takes longer hangs. */
const patienceMs = 120_000;

/** How each runtime of a new user is called, and which section of README is for it. */
const machines = [
  ...Object.values(nodes).map((version) => ({
    name: `Node.js ${version}`,
    heading: 'Node.js',
    commands: () => nodeAndNpm(version),
  })),
  { name: 'Deno', heading: 'Deno', commands: () => ({ deno: [runtimeOf('Deno').command] }) },
  { name: 'Bun', heading: 'Bun', commands: () => ({ bun: [runtimeOf('Bun').command] }) },
];

function nodeAndNpm(version) {
  const node = nodeOf(version);
  const npx = npmScript().replace('npm-cli.js', 'npx-cli.js');
  return { node: [node], npm: [node, npmScript()], npx: [node, npx] };
}

/** False, or why nothing of this can be done here. */
const withoutShell = process.platform === 'win32' && 'the commands of README are for a POSIX shell';

/** A machine of a new user: an empty folder, and these commands alone. */
function machineOf(parent, { name, commands }, registry) {
  const [folder, home, bin] = ['folder', 'home', 'bin'].map((part) => join(parent, name.replace(/\W+/g, '-'), part));
  for (const path of [folder, home, bin]) mkdirSync(path, { recursive: true });
  for (const [command, [program, ...args]] of Object.entries(commands()))
    if (args.length === 0) symlinkSync(program, join(bin, command));
    else
      writeFileSync(join(bin, command), `#!/bin/sh\nexec ${[program, ...args].map(quoted).join(' ')} "$@"\n`, {
        mode: 0o755,
      });
  return { folder, env: freshEnvironment({ home, registry, folders: [bin] }) };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Lines of a shell, started; killed with whatever they have started. */
function shell({ folder, env }, lines) {
  const child = spawn('sh', ['-e', '-c', lines], {
    cwd: folder,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const text = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text.out += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    text.err += chunk;
  });
  const kill = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch (error) {
      // It has ended.
      if (error.code !== 'ESRCH') throw error;
    }
  };
  const ended = once(child, 'close').then(([code, signal]) => code ?? signal);
  return { text, ended, kill };
}

/** Runs lines to their end; their standard output. */
async function succeed(machine, lines) {
  const { text, ended, kill } = shell(machine, lines);
  const timer = setTimeout(kill, patienceMs);
  const code = await ended;
  clearTimeout(timer);
  if (code !== 0)
    throw new Failure(`"${lines.trim().replaceAll('\n', '; ')}" ended with ${code}:\n${text.out}${text.err}`);
  return text.out;
}

/** The one block of a language in a section. */
function blockOf(heading, language) {
  const blocks = sectionOf(page, heading).blocks.filter((block) => block.language === language);
  if (blocks.length !== 1) throw new Failure(`${page}, "${heading}": ${blocks.length} blocks of ${language}, not one`);
  return blocks[0];
}

/** README names one port; another test may have it. */
async function withFreePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return { port, toText: (given) => given.replaceAll('8080', String(port)) };
}

/** The first program: installed and run. */
async function program(machine, heading) {
  const { code, output } = blockOf('In one minute', 'js');
  writeFileSync(join(machine.folder, 'app.mjs'), code);
  const out = await succeed(machine, blockOf(heading, 'sh').code);
  if (!out.endsWith(output))
    throw new Failure(`expected to end with ${JSON.stringify(output)}, got ${JSON.stringify(out)}`);
}

/** The lines for three terminals, where the package is installed. */
async function commandLine(machine) {
  const { toText } = await withFreePort();
  const [hub, sub, pub, ...rest] = blockOf('From the command line', 'sh').code.trim().split('\n').map(toText);
  expectSame('further lines', rest, []);
  const [, expected] = /prints `([^`]+)`/.exec(sectionOf(page, 'From the command line').text) ?? [];
  const started = [];
  const begin = (line) => {
    const one = shell(machine, line);
    started.push(one);
    return one;
  };
  try {
    const first = begin(hub);
    await eventually(
      () => first.text.out.includes('websocket'),
      () => JSON.stringify(first.text),
      patienceMs,
    );
    const second = begin(sub);
    await eventually(
      () => second.text.err.includes('subscribed'),
      () => JSON.stringify(second.text),
      patienceMs,
    );
    await succeed(machine, pub);
    await eventually(
      () => second.text.out === `${expected}\n`,
      () => JSON.stringify(second.text),
      patienceMs,
    );
  } finally {
    for (const { kill } of started) kill();
  }
}

/** The page and its server, in two tabs of Chromium. */
async function browser(machine) {
  const { port, toText } = await withFreePort();
  writeFileSync(join(machine.folder, 'server.mjs'), toText(blockOf('Browsers', 'js').code));
  writeFileSync(join(machine.folder, 'index.html'), blockOf('Browsers', 'html').code);
  const cleanups = [];
  const t = { after: (cleanup) => cleanups.unshift(cleanup) };
  try {
    const server = shell(machine, blockOf('Browsers', 'sh').code);
    t.after(server.kill);
    const isUp = () => server.text.out.includes(`open http://127.0.0.1:${port}`);
    await eventually(isUp, () => JSON.stringify(server.text), patienceMs);
    const context = await startChromium(t);
    const [one, other] = [
      await openPage(t, context, `http://127.0.0.1:${port}`),
      await openPage(t, context, `http://127.0.0.1:${port}`),
    ];
    // Until the second tab has subscribed, nobody hears the first.
    await eventually(async () => {
      await one.page.locator('#mine').fill('');
      await one.page.locator('#mine').pressSequentially('hello');
      return (await other.page.locator('#others').textContent()) === 'hello';
    }, 'what is typed in one tab is read in the other');
    expectSame('problems of the page', [...one.problems, ...other.problems], []);
  } finally {
    for (const cleanup of cleanups) await cleanup();
  }
}

/** Rows of a table, and `failures`: everything that README has for new users, on each runtime. */
export async function newUsers(parent, registry) {
  const steps = machines.flatMap((machine) => [
    [machine.name, 'README: app.mjs', machine, (made) => program(made, machine.heading)],
    ...(machine.heading === 'Node.js' ? [[machine.name, 'README: command line', machine, commandLine]] : []),
  ]);
  const chromium = { ...machines.find(({ heading }) => heading === 'Node.js'), name: 'browser' };
  steps.push(['Chromium', 'README: page', chromium, browser]);
  const [rows, failures, made] = [[], [], new Map()];
  for (const [name, step, machine, work] of steps) {
    let [end, start] = ['passed', performance.now()];
    const reason = withoutShell || (step === 'README: page' && withoutChromium);
    try {
      if (reason) end = `not run: ${reason}`;
      else {
        // Runtimes are installed the first time: that is none of the user's.
        if (!made.has(machine)) made.set(machine, machineOf(parent, machine, registry));
        start = performance.now();
        await work(made.get(machine));
      }
    } catch (error) {
      end = 'FAILED';
      failures.push(`${name}, ${step}: ${error.message}`);
    }
    rows.push([name, step, end, seconds(performance.now() - start)]);
    say(`${name}, ${step}: ${end}`);
  }
  return { rows, failures };
}
