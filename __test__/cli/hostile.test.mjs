// The command line used clumsily and by hostile peers, in each runtime: streams that are closed, full or no text, readers that go away, signals,
// and texts that would take over a terminal.
import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { commandOf, runtimes } from '../runtimes/runtimes.mjs';
import { eventually } from '../websocket/facts.mjs';
import { messages, objects, root, run, said, start, startHub, startSub } from './program.mjs';

/** What docs/runtimes.md says that the program needs in Deno; in a clone reading it besides. */
const permissions = ['--allow-ffi', '--allow-env=ALKPUBSUB_TOKEN', `--allow-read=${root}`];

/** A test in each runtime: `check` gets the options that start commands there. */
function inEach(sentence, check, { skip = false } = {}) {
  for (const runtime of runtimes)
    test(`${sentence}, in ${runtime.name}`, { skip, timeout: 120_000 }, async (t) => {
      const command = commandOf(runtime);
      if (command === undefined) return t.skip(`${runtime.name} is not installed for this machine`);
      await check(t, { runtime: [command, ...runtime.toArgs(permissions)] });
    });
}

const onWindows = process.platform === 'win32' && 'no signals on Windows';

inEach(
  'a hub, a sub and a pub meet; doctor is well; signals end them in order',
  async (t, options) => {
    const hub = await startHub(t, ['--iroh-bind', '127.0.0.1:0'], options);
    const sub = await startSub(t, [hub.iroh, 'a:b'], options);
    const pub = await run(t, ['pub', hub.url, 'a:b', '{"n":1}'], options);
    assert.deepEqual([pub.code, pub.stderr], [0, 'published 1 event\n']);
    assert.deepEqual((await said(sub, 'message')).payload, { n: 1 });
    const doctor = await run(t, ['doctor', '--json', hub.url], options);
    assert.equal(doctor.code, 0, doctor.stdout + doctor.stderr);
    sub.child.kill('SIGINT');
    hub.child.kill('SIGTERM');
    assert.deepEqual([(await sub.finished).code, (await hub.finished).code], [0, 0]);
    assert.equal(objects((await hub.finished).stdout).at(-1).event, 'stopped');
  },
  { skip: onWindows },
);

inEach('no line, a line that is no UTF-8, and one that is too large', async (t, options) => {
  const hub = await startHub(t, ['--no-iroh'], options);
  const sub = await startSub(t, [hub.url, 'a:b'], options);
  const pub = async (input) => {
    const one = start(t, ['pub', hub.url, 'a:b', '--json'], { ...options, stdin: 'pipe' });
    // The program may end before it has read everything.
    one.child.stdin.on('error', () => {});
    one.child.stdin.end(input);
    const { code, stdout } = await one.finished;
    return { ended: code, ...objects(stdout).at(-1) };
  };
  assert.deepEqual(await pub(''), {
    ...{ ended: 0, event: 'published', count: 0, confirmed: true, dropped: 0, refused: 0, gaps: 0 },
  });
  const half = await pub(Buffer.concat([Buffer.from('\ufeff"with a mark"\n'), Buffer.from([0xc3, 0x28, 10])]));
  assert.deepEqual([half.ended, half.message.split('\n')[0]], [1, 'line 2 is no UTF-8']);
  const large = await pub(`"small"\n${'x'.repeat(1 << 21)}\n`);
  assert.equal(large.ended, 1);
  assert.match(large.message, /^line 2: event "a:b" is larger/);
  await eventually(
    () => messages(sub.text.stdout).length >= 2,
    () => sub.text.stdout,
  );
  const payloads = messages(sub.text.stdout).map(({ payload }) => payload);
  assert.deepEqual(payloads.slice(-2), ['with a mark', 'small'], 'what came before was published');
});

inEach('--max-bytes on all ends carries what is larger', async (t, options) => {
  const size = ['--max-bytes', String(4 << 20)];
  const hub = await startHub(t, ['--no-iroh', ...size], options);
  const sub = await startSub(t, [hub.url, 'a:b', '--count', '1', ...size], options);
  const pub = start(t, ['pub', hub.url, 'a:b', ...size], { ...options, stdin: 'pipe' });
  pub.child.stdin.end('x'.repeat(2 << 20));
  assert.equal((await pub.finished).code, 0);
  assert.equal(messages((await sub.finished).stdout)[0].payload.length, 2 << 20);
});

inEach(
  'a reader that goes away ends a hub in order; a disk that is full ends with 1',
  async (t, options) => {
    const hub = start(t, ['hub', '--port', '0', '--no-iroh', '--json'], options);
    const { websocket } = await said(hub, 'listening');
    hub.child.stdout.destroy();
    // Its connection is what the hub would tell about; the hub may be gone before it has published.
    start(t, ['pub', websocket.where, 'a:b', '1'], options);
    const { code, stderr } = await hub.finished;
    assert.deepEqual([code, stderr], [0, '']);
    const full = openSync('/dev/full', 'w');
    t.after(() => closeSync(full));
    const help = await run(t, ['--help'], { ...options, stdout: full });
    assert.equal(help.code, 1);
    assert.match(help.stderr, /^error: standard output: .*no space left/i);
  },
  { skip: !existsSync('/dev/full') && 'there is no /dev/full' },
);

test('what peers say moves no cursor: their control characters are shown as escapes', async (t) => {
  const hub = start(t, ['hub', '--port', '0', '--no-iroh']);
  await eventually(
    () => hub.text.stdout.includes('websocket'),
    () => JSON.stringify(hub.text),
  );
  const url = /ws:\S+/.exec(hub.text.stdout)[0];
  const sub = start(t, ['sub', url, 'a:b']);
  await eventually(
    () => sub.text.stderr.includes('subscribed'),
    () => JSON.stringify(sub.text),
  );
  const peer = new WebSocket(url);
  await new Promise((resolve) => peer.once('open', resolve));
  peer.send('{"type":"a","id":"b","payload":"\\u001b[2J\u009b31m"}');
  await eventually(
    () => sub.text.stdout.endsWith('\n'),
    () => JSON.stringify(sub.text),
  );
  assert.equal(sub.text.stdout, 'a:b "\\u001b[2J\\u009b31m"\n');
  peer.close(4000, '\u001b]0;mine\u0007');
  await eventually(
    () => hub.text.stderr.includes('4000'),
    () => JSON.stringify(hub.text),
  );
  assert.match(hub.text.stderr, /closed with 4000: \\u001b\]0;mine\\u0007\n/);
});

test('pages of an origin may connect when it is named, and no others', async (t) => {
  const hub = await startHub(t, ['--no-iroh', '--origin', 'https://app.example']);
  const connect = (origin) =>
    new Promise((resolve) => {
      const socket = new WebSocket(hub.url, { origin });
      socket.once('open', () => resolve(socket.close()));
      socket.once('error', (error) => resolve(error.message));
    });
  assert.equal(await connect('https://app.example'), undefined);
  assert.match(await connect('https://other.example'), /403/);
  const { code, stderr } = await run(t, ['hub', '--origin', 'https://app.example/page']);
  assert.equal(code, 2);
  assert.match(stderr, /such as https:\/\/app\.example, got/);
});
