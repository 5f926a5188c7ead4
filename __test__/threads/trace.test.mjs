// What the process bus tells of itself when the environment asks, and that it is no payload.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const program = `
  import { createEvent } from '@alkdev/pubsub-native';
  import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
  const [slow, fast] = [createProcessEventTarget('news', { maxPendingBytes: 4096 }), createProcessEventTarget('news')];
  const gap = new Promise((resolve) => slow.addEventListener('gap', resolve, { once: true }));
  slow.addEventListener('a:1', () => {});
  await Promise.all([slow.ready('a:1'), fast.ready()]);
  // More than the inbox and the queue behind it hold, in one turn.
  for (let n = 0; n < 1000; n++) fast.dispatchEvent(createEvent('a', '1', 's3cret-payload'.repeat(1000)));
  await gap;
  await Promise.all([slow.close({ reason: 'enough' }), fast.close()]);
`;

/** What the program writes to standard error. */
function told(filter) {
  const { NODE_DEBUG: _, ...rest } = process.env;
  const options = { cwd: new URL('../..', import.meta.url), encoding: 'utf8', env: { ...rest, ALKPUBSUB_LOG: filter } };
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], options);
  assert.equal(status, 0, stderr);
  return stderr;
}

test('members that join, open, are too slow and leave are told of, with names and numbers and no payload', () => {
  const text = told('debug');
  for (const words of [
    /alkpubsub::process: joined name="news" member=0/,
    /alkpubsub::bus: open members=2/,
    /alkpubsub::bus: gap: this member was too slow dropped=\d+ topics=1/,
    /alkpubsub::process: left name="news" member=\d topics=1/,
    /alkpubsub::bus: closed code=1000 reason="enough"/,
  ])
    assert.match(text, words);
  assert.doesNotMatch(text, /s3cret/);
});

test('a filter chooses: losses alone', () => {
  const text = told('alkpubsub::bus=warn');
  assert.match(text, /gap: this member was too slow/);
  assert.doesNotMatch(text, /alkpubsub::process|open|closed/);
});
