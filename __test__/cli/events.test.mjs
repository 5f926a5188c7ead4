// Events between processes of the command line, over each kind of place.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startRedis, withoutRedis } from '../redis/server.mjs';
import { startTls } from '../redis/tls-server.mjs';
import { messages, objects, run, start, startHub, startSub } from './program.mjs';

const payloads = (stdout) => messages(stdout).map(({ payload }) => payload);

for (const kind of ['url', 'iroh', 'ticket']) {
  test(`what is published comes to a subscriber, through a hub at its ${kind}`, async (t) => {
    const hub = await startHub(t);
    const sub = await startSub(t, [hub[kind], 'chat.msg:r1', '--count', '2']);
    const first = await run(t, ['pub', hub[kind], 'chat.msg:r1', '{"text":"grüß dich"}']);
    assert.deepEqual([first.code, first.stderr], [0, 'published 1 event\n']);
    const second = await run(t, ['pub', '--json', hub[kind], 'chat.msg:r1', 'no JSON']);
    const counts = { count: 1, confirmed: true, dropped: 0, refused: 0, gaps: 0 };
    assert.deepEqual(objects(second.stdout), [{ event: 'published', ...counts }]);
    const { code, stdout, stderr } = await sub.finished;
    assert.deepEqual([code, stderr], [0, '']);
    assert.deepEqual(messages(stdout), [
      { event: 'message', topic: 'chat.msg:r1', type: 'chat.msg', id: 'r1', payload: { text: 'grüß dich' } },
      { event: 'message', topic: 'chat.msg:r1', type: 'chat.msg', id: 'r1', payload: 'no JSON' },
    ]);
  });
}

test('over Redis, with a prefix', { skip: withoutRedis }, async (t) => {
  const redis = await startRedis(t);
  const sub = await startSub(t, [redis.url, 'log:app', '--count', '1', '--prefix', 'app:']);
  const { code } = await run(t, ['pub', redis.url, 'log:app', 'a line', '--prefix', 'app:']);
  assert.equal(code, 0);
  assert.deepEqual(payloads((await sub.finished).stdout), ['a line']);
});

test('hubs at one Redis are one', { skip: withoutRedis }, async (t) => {
  const redis = await startRedis(t);
  const args = ['--redis', redis.url, '--prefix', 'app:', '--no-iroh'];
  const [here, there] = [await startHub(t, args), await startHub(t, args)];
  const sub = await startSub(t, [here.url, 'chat.msg:r1', '--count', '1']);
  await run(t, ['pub', there.url, 'chat.msg:r1', '5']);
  assert.deepEqual(payloads((await sub.finished).stdout), [5]);
});

test('over a Redis with TLS that --ca vouches for, with events of 2 MiB', { skip: withoutRedis }, async (t) => {
  const { url, ca } = await startTls(t);
  const trusting = ['--ca', ca, '--max-bytes', String(4 << 20)];
  const hubs = [];
  for (let n = 0; n < 2; n++) hubs.push(await startHub(t, ['--no-iroh', '--redis', url, ...trusting]));
  const places = [hubs[0].url, url];
  const subs = [];
  for (const place of places) subs.push(await startSub(t, [place, 'a:b', '--count', '1', ...trusting]));
  const pub = start(t, ['pub', hubs[1].url, 'a:b', ...trusting], { stdin: 'pipe' });
  pub.child.stdin.end('x'.repeat(2 << 20));
  assert.equal((await pub.finished).code, 0, pub.text.stderr);
  for (const sub of subs) assert.equal(payloads((await sub.finished).stdout)[0].length, 2 << 20);
  const doubting = await run(t, ['pub', url, 'a:b', '1']);
  assert.equal(doubting.code, 3);
  assert.match(doubting.stderr, /--ca FILE/);
});

test('each line of standard input is an event, in order, the last one without its end too', async (t) => {
  const hub = await startHub(t, ['--no-iroh']);
  const sub = start(t, ['sub', hub.url, 'log:app', '--count', '20003', '--raw']);
  while (!sub.text.stderr.includes('subscribed')) await new Promise((resolve) => setTimeout(resolve, 5));
  const lines = Array.from({ length: 20_000 }, (_, n) => `line ${n} ${'x'.repeat(n % 300)}`);
  const pub = start(t, ['pub', hub.url, 'log:app', '--text', '--json'], { stdin: 'pipe' });
  pub.child.stdin.end([...lines, '', 'with its CR\r', '5'].join('\n'));
  const { code, stdout } = await pub.finished;
  assert.equal(code, 0);
  assert.equal(objects(stdout)[0].count, 20_003);
  const printed = (await sub.finished).stdout.split('\n');
  assert.deepEqual(printed, [...lines, '', 'with its CR', '5', '']);
});

test('--type says where the type ends; --raw prints payloads alone', async (t) => {
  const hub = await startHub(t, ['--no-iroh']);
  const sub = await startSub(t, [hub.url, 'a:b:c', '--count', '1']);
  await run(t, ['pub', hub.url, 'a:b:c', 'x', '--type', 'a:b']);
  const [{ type, id }] = messages((await sub.finished).stdout);
  assert.deepEqual([type, id], ['a:b', 'c']);
});

test('a hub with a token lets those in who have it, and tells the others what to do', async (t) => {
  const hub = await startHub(t, [], { env: { ALKPUBSUB_TOKEN: 'secret' } });
  assert.equal(hub.iroh, undefined, 'Iroh has no tokens');
  const stranger = await run(t, ['pub', hub.url, 'a:b', '1']);
  assert.equal(stranger.code, 3);
  assert.match(stranger.stderr, /ALKPUBSUB_TOKEN/);
  const wrong = await run(t, ['pub', hub.url, 'a:b', '1'], { env: { ALKPUBSUB_TOKEN: 'other' } });
  assert.equal(wrong.code, 3);
  const friend = await run(t, ['pub', hub.url, 'a:b', '1'], { env: { ALKPUBSUB_TOKEN: 'secret' } });
  assert.equal(friend.code, 0, friend.stderr);
});

test('--allow lets an id in over Iroh, and nobody else', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const key = join(folder, 'friend.key');
  const [{ id }] = objects((await run(t, ['keygen', key, '--json'])).stdout);
  const hub = await startHub(t, ['--no-websocket', '--allow', id, '--iroh-bind', '127.0.0.1:0']);
  const stranger = await run(t, ['pub', hub.iroh, 'a:b', '1']);
  assert.equal(stranger.code, 3, stranger.stderr);
  const friend = await run(t, ['pub', hub.iroh, 'a:b', '1', '--key', key]);
  assert.equal(friend.code, 0, friend.stderr);
});
