// How commands end: exit codes, signals, readers that go away, hubs that do.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually } from '../websocket/facts.mjs';
import { main, objects, root, run, said, start, startHub, startSub } from './program.mjs';

const folderOf = (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'));
  t.after(() => rmSync(folder, { recursive: true, maxRetries: 5 }));
  return folder;
};

test('wrong usage ends with 2 and says what to write; with --json as an object on standard output', async (t) => {
  for (const [args, reason] of [
    [[], /a command is missing; known are hub, sub/],
    [['shout'], /"shout" is no command/],
    [['--port', '1'], /a command comes before "--port"/],
    [['sub', 'ws://127.0.0.1:1', ':x'], /the type in front of its colon is empty/],
    [['pub', 'ws://127.0.0.1:1', '__hello:', '1'], /types that begin with "__".* are reserved/],
    [['hub', '--max-bytes', '0'], /--max-bytes must be a whole number from 1/],
    [['sub'], /say where and which topics/],
    [['sub', 'ws://127.0.0.1:1', 'chat'], /"chat" is no topic, it has no colon: write type:id/],
    [['sub', 'ws://127.0.0.1:1', 'a:b', '--count', '0'], /--count must be a whole number from 1/],
    [['sub', 'http://127.0.0.1', 'a:b'], /"http:\/\/127.0.0.1" is no place to connect to/],
    [['sub', 'iroh:abc', 'a:b'], /or add --iroh-relay URL or --public/],
    [['sub', 'iroh:abc@127.0.0.1:1', 'a:b'], /abc/],
    [['pub', 'ws://127.0.0.1:1', 'a:b', 'two', 'words'], /put it into quotes/],
    [['pub', 'ws://127.0.0.1:1', 'a:b', '--bogus'], /Unknown option '--bogus'/],
    [['hub', '--port', '70000'], /--port must be a whole number from 0 to 65535/],
    [['hub', '--public'], /name peers with --allow ID/],
    [['hub', '--tls-cert', 'x'], /belong together/],
    [['keygen'], /say which file/],
  ]) {
    const { code, stdout, stderr } = await run(t, args);
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, reason);
    assert.equal(stdout, '');
    if (args.length === 0) continue;
    const json = await run(t, [...args, '--json']);
    assert.equal(json.code, 2);
    assert.equal(json.stderr, '');
    assert.equal(objects(json.stdout).at(-1).event, 'error');
  }
});

test('nobody there ends with 3 and a remedy; --wait waits for somebody', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  for (const place of [`ws://127.0.0.1:${port}`, `redis://127.0.0.1:${port}`]) {
    const { code, stderr } = await run(t, ['pub', place, 'a:b', '1']);
    assert.equal(code, 3);
    assert.match(stderr, /--wait/);
  }
  const waiting = start(t, ['pub', '--wait', `ws://127.0.0.1:${port}`, 'a:b', '1']);
  const hub = start(t, ['hub', '--json', '--no-iroh', '--port', String(port)]);
  await said(hub, 'listening');
  assert.equal((await waiting.finished).code, 0);
});

test('sub ends with 5 when fewer events come in time than it was to count', async (t) => {
  const hub = await startHub(t, ['--no-iroh']);
  const { code, stderr } = await run(t, ['sub', hub.url, 'a:b', '--count', '1', '--timeout', '1']);
  assert.equal(code, 5);
  assert.match(stderr, /0 of 1 events came in time/);
  assert.equal((await run(t, ['sub', hub.url, 'a:b', '--timeout', '1'])).code, 0);
});

/** A process of Windows ends at once, whatever signal it is sent. */
const noSignals = { skip: process.platform === 'win32' && 'no signals on Windows' };

for (const signal of ['SIGINT', 'SIGTERM']) {
  test(`${signal} ends a hub and a sub in order, with 0, and a pub with 130`, noSignals, async (t) => {
    const hub = await startHub(t);
    const sub = await startSub(t, [hub.url, 'a:b']);
    const pub = start(t, ['pub', hub.iroh, 'a:b', '--json'], { stdin: 'pipe' });
    pub.child.stdin.write('one\n');
    await said(sub, 'message');
    pub.child.kill(signal);
    assert.equal((await pub.finished).code, 130);
    sub.child.kill(signal);
    assert.equal((await sub.finished).code, 0);
    hub.child.kill(signal);
    const { code, stdout, stderr } = await hub.finished;
    assert.deepEqual([code, stderr], [0, '']);
    assert.equal(objects(stdout).at(-1).event, 'stopped');
  });
}

test('a signal while connecting ends with 130', noSignals, async (t) => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  t.after(() => silent.close());
  await once(silent, 'listening');
  const sub = start(t, ['sub', `ws://127.0.0.1:${silent.address().port}`, 'a:b']);
  await once(silent, 'connection');
  sub.child.kill('SIGINT');
  assert.equal((await sub.finished).code, 130);
});

test('a reader that goes away ends sub without a complaint', async (t) => {
  const hub = await startHub(t, ['--no-iroh']);
  const sub = start(t, ['sub', hub.url, 'a:b']);
  await eventually(() => sub.text.stderr.includes('subscribed'), 'subscribed');
  sub.child.stdout.destroy();
  const pub = start(t, ['pub', hub.url, 'a:b'], { stdin: 'pipe' });
  pub.child.stdin.end('one\n'.repeat(1000));
  await pub.finished;
  const { code, stderr } = await sub.finished;
  assert.deepEqual([code, stderr], [0, 'subscribed to a:b\n']);
});

test('a hub that goes away is told, and --strict ends with 5 at the gap', async (t) => {
  const hub = await startHub(t, ['--no-iroh']);
  const port = new URL(hub.url).port;
  const patient = await startSub(t, [hub.url, 'a:b', '--count', '1']);
  const strict = await startSub(t, [hub.url, 'a:b', '--strict']);
  hub.child.kill('SIGKILL');
  await said(patient, 'reconnecting');
  await said(start(t, ['hub', '--json', '--no-iroh', '--port', port]), 'listening');
  assert.equal((await strict.finished).code, 5);
  const { cause } = await said(patient, 'gap');
  assert.equal(cause, 'connection-lost');
  await run(t, ['pub', hub.url, 'a:b', '1']);
  assert.equal((await patient.finished).code, 0);
});

test('a port that is taken ends a hub with 1 and a remedy', async (t) => {
  const hub = await startHub(t, ['--no-iroh']);
  const { code, stderr } = await run(t, ['hub', '--no-iroh', '--port', new URL(hub.url).port]);
  assert.equal(code, 1);
  assert.match(stderr, /Choose another port/);
});

test('keygen makes a key for its owner alone, never twice, and shows its id', async (t) => {
  const file = join(folderOf(t), 'node.key');
  const made = await run(t, ['keygen', file]);
  assert.equal(made.code, 0, made.stderr);
  assert.match(made.stdout, /^[0-9a-f]{64}\n$/);
  if (process.platform !== 'win32') assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal((await run(t, ['keygen', file])).code, 1);
  assert.equal((await run(t, ['keygen', file, '--show'])).stdout, made.stdout);
  const hub = await startHub(t, ['--key', file]);
  assert.equal(`${hub.id}\n`, made.stdout);
});

test('doctor finds this machine well, and a place that is not there ill, with what to do', async (t) => {
  const well = await run(t, ['doctor', '--json']);
  const checks = objects(well.stdout);
  assert.deepEqual(
    checks.map(({ name }) => name),
    ['platform', 'addon', 'websocket', 'iroh', 'udp'],
  );
  assert.equal(well.code, 0, well.stdout);
  const { code, stdout } = await run(t, ['doctor', 'ws://127.0.0.1:1', '--json']);
  assert.equal(code, 1);
  const { status, remedy } = objects(stdout).at(-1);
  assert.equal(status, 'failed');
  assert.match(remedy, /host and port/);
});

test('without the addon a hub ends with 4, and doctor names the package that should be there', async (t) => {
  const folder = folderOf(t);
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
  for (const name of ['package.json', 'loader.cjs', 'platform.cjs']) copyFileSync(join(root, name), join(folder, name));
  const program = join(folder, 'dist/cli/main.js');
  const hub = await run(t, ['hub'], { program });
  assert.equal(hub.code, 4);
  assert.match(hub.stderr, /@alkdev\/pubsub-native-\w+-\w+/);
  const doctor = await run(t, ['doctor'], { program });
  assert.equal(doctor.code, 1);
  assert.match(doctor.stdout, /failed\s+addon/);
  assert.match(doctor.stdout, /npm install @alkdev\/pubsub-native-/);
  assert.equal((await run(t, ['--version'], { program })).code, 0);
});

const noScript = process.platform !== 'linux' || spawnSync('script', ['--version']).status !== 0;

test('what takes longer than a second shows its progress on a terminal, and nowhere else', {
  skip: noScript && 'there is no "script" to make a terminal with',
}, async (t) => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  t.after(() => silent.close());
  await once(silent, 'listening');
  const place = `ws://127.0.0.1:${silent.address().port}`;
  const command = [process.execPath, main, 'sub', place, 'a:b'].join(' ');
  const terminal = spawn('script', ['-qefc', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => terminal.kill('SIGKILL'));
  let shown = '';
  terminal.stdout.setEncoding('utf8').on('data', (chunk) => {
    shown += chunk;
  });
  const piped = start(t, ['sub', place, 'a:b']);
  await eventually(
    () => shown.includes(`connecting to ${place} … 2 s`),
    () => shown,
  );
  assert.equal(piped.text.stderr, '');
  piped.child.kill('SIGINT');
  await piped.finished;
});
