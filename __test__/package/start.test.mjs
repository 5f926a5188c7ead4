// The main job as a user starts it, and what is left of it when it goes wrong.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Starts the job; `finished` has its exit code and its output. */
function start(args, { stdin = 'ignore' } = {}) {
  const child = spawn(process.execPath, [join(root, 'scripts/start.mjs'), '--no-build', ...args], {
    cwd: root,
    env: { ...process.env, INIT_CWD: root },
    stdio: [stdin, 'pipe', 'pipe'],
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'])
    child[name].setEncoding('utf8').on('data', (chunk) => {
      text[name] += chunk;
    });
  const finished = once(child, 'close').then(([code]) => ({ code, ...text }));
  return { child, text, finished };
}

const linesOf = (text) => text.split('\n').filter((line, index, all) => index < all.length - 1 || line !== '');

for (const transport of ['websocket', 'iroh']) {
  test(`over ${transport} every subscriber prints every line of the file in order, and the summary counts them`, async () => {
    const input = 'docs/decisions/0001-first-path.md';
    const lines = linesOf(readFileSync(join(root, input), 'utf8'));
    const { code, stdout, stderr } = await start([input, '--subscribers', '2', '--transport', transport]).finished;
    assert.equal(code, 0, stderr);
    const output = stdout.split('\n');
    for (const name of ['1', '2']) {
      const prefix = `[${name}] `;
      const printed = output.filter((line) => line.startsWith(prefix)).map((line) => line.slice(prefix.length));
      assert.deepEqual(printed, lines);
      assert.match(stdout, new RegExp(`^received by subscriber ${name} +${lines.length}$`, 'm'));
    }
    assert.match(stdout, new RegExp(`^lines read +${lines.length}$`, 'm'));
    assert.match(stdout, new RegExp(`^events sent +${lines.length}$`, 'm'));
    assert.match(stdout, /^gaps +0$/m);
    assert.match(stdout, /^drops +0$/m);
  });

  test(`over ${transport} a hundred thousand lines reach all subscribers`, async () => {
    const job = start(['-', '--quiet', '--transport', transport], { stdin: 'pipe' });
    job.child.stdin.end(Array.from({ length: 100_000 }, (_, n) => `line ${n} ${'x'.repeat(n % 200)}\n`).join(''));
    const { code, stdout, stderr } = await job.finished;
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /^received by subscriber 1 +100000$/m);
  });

  test(`over ${transport} a reader that takes its time loses nothing`, async () => {
    const job = start(['-', '--subscribers', '2', '--transport', transport], { stdin: 'pipe' });
    job.child.stdout.pause();
    job.child.stdin.end(Array.from({ length: 20_000 }, (_, n) => `line ${n} ${'x'.repeat(100)}\n`).join(''));
    // Longer than a hub waits for a connection that does not read.
    setTimeout(() => job.child.stdout.resume(), 1500);
    const { code, stdout, stderr } = await job.finished;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^received by subscriber 2 +20000$/m);
  });
}

test('--quiet prints the summary alone, and "-" reads standard input, the last line without a newline too', async () => {
  const job = start(['-', '--quiet'], { stdin: 'pipe' });
  job.child.stdin.end('first\n\n\u00fc\u{1f600}\r\nlast');
  const { code, stdout, stderr } = await job.finished;
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stdout, /^\[/m);
  assert.match(stdout, /^lines read +4$/m);
  assert.match(stdout, /^received by subscriber 3 +4$/m);
});

test('bad arguments end with exit code 2 and one line that says why', async () => {
  for (const [args, reason] of [
    [['no-such-file'], /cannot publish no-such-file: there is no such file/],
    [['docs'], /cannot publish docs: it is a folder/],
    [['--subscribers', '0'], /--subscribers must be a whole number from 1 to 64, got 0/],
    [['--transport', 'pigeon'], /--transport must be websocket or iroh, got pigeon/],
    [['--bogus'], /unknown option --bogus/],
  ]) {
    const { code, stdout, stderr } = await start(args).finished;
    assert.equal(code, 2);
    assert.match(stderr, reason);
    assert.equal(stderr.trimEnd().split('\n').length, 1, stderr);
    assert.equal(stdout, '');
  }
});

const needsProc = { skip: process.platform !== 'linux' && 'finds the processes in /proc' };

for (const transport of ['websocket', 'iroh']) {
  test(`over ${transport} the job fails when the hub dies, says so and leaves no process`, needsProc, async () => {
    const { job, children } = await runningJob(transport);
    process.kill(children.find(({ file }) => file === 'hub').pid, 'SIGKILL');
    const { code, stderr } = await job.finished;
    assert.equal(code, 1);
    assert.match(stderr, /the hub ended early, by SIGKILL/);
    await allGone(children);
  });

  test(`over ${transport} a signal ends the job and all its processes`, needsProc, async () => {
    const { job, children } = await runningJob(transport);
    job.child.kill('SIGINT');
    const { code, stderr } = await job.finished;
    assert.equal(code, 1);
    assert.match(stderr, /stopped by SIGINT/);
    await allGone(children);
  });

  test(`over ${transport} processes of a killed job end by themselves`, needsProc, async () => {
    const { job, children } = await runningJob(transport);
    job.child.kill('SIGKILL');
    await job.finished;
    await allGone(children);
  });
}

/** A job that waits for more input. */
async function runningJob(transport) {
  const job = start(['-', '--subscribers', '2', '--transport', transport], { stdin: 'pipe' });
  job.child.stdin.on('error', () => {});
  job.child.stdin.write('one line\n'.repeat(10_000));
  while (!job.text.stdout.includes('[2] one line')) await once(job.child.stdout, 'data');
  const children = childrenOf(job.child.pid);
  assert.deepEqual(children.map(({ file }) => file).sort(), ['hub', 'publisher', 'subscriber', 'subscriber']);
  return { job, children };
}

function childrenOf(pid) {
  const pids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
  return pids.map((child) => ({
    pid: child,
    file: /main-job\/(\w+)\.mjs/.exec(readFileSync(`/proc/${child}/cmdline`, 'utf8'))?.[1],
  }));
}

async function allGone(processes) {
  const isThere = ({ pid }) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  while (processes.some(isThere)) await new Promise((resolve) => setImmediate(resolve));
}
