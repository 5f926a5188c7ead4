// Who waits for what, by token and by topic.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Waiters } from '../../dist/waiting.js';

test('a topic is asked for once, answered by its name or its token, and asked for anew afterwards', async () => {
  const waiters = new Waiters();
  let token = 0;
  const share = (topic) => waiters.share(topic, () => ++token);
  const first = [share('a:1'), share('a:1'), share('a:2')];
  assert.equal(token, 2);
  waiters.resolveTopic('a:1', 'by topic');
  waiters.resolve(2, 'by token');
  assert.deepEqual(await Promise.all(first), ['by topic', 'by topic', 'by token']);
  const again = share('a:1');
  assert.equal(token, 3);
  waiters.resolveTopic('a:2', 'nobody waits');
  waiters.resolve(1, 'late');
  waiters.rejectTopic('a:1', () => new Error('left'));
  await assert.rejects(again, { message: 'left' });
});

test('of a hundred thousand topics that are waited for, each is left without a look at the others', async () => {
  const waiters = new Waiters();
  const topics = Array.from({ length: 100_000 }, (_, i) => `t:${i}`);
  const waits = topics.map((topic, i) => waiters.share(topic, () => i + 1));
  // Walking through all for each took minutes.
  for (const topic of topics) waiters.rejectTopic(topic, () => topic);
  const ends = await Promise.allSettled(waits);
  assert.deepEqual(
    ends.map(({ reason }) => reason),
    topics,
  );
});
