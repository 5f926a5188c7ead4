// What a clumsy user does: odd names, tens of thousands of listeners in one turn, events at the limit and one byte above, close() in every state.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createRedisEventTarget } from '../../dist/event-target-redis.js';
import { eventually, listenTo, within } from '../websocket/facts.mjs';
import { makeTarget, publish, watch } from './facts.mjs';
import { startRedis, withoutRedis } from './server.mjs';

const deadUrl = 'redis://127.0.0.1:1';

describe('clumsy use', { skip: withoutRedis }, () => {
  test('names of any bytes travel, also behind a prefix of any', async (t) => {
    const server = await startRedis(t);
    const ids = [
      '',
      ' ',
      '\r\n',
      '\0',
      '{',
      '}',
      '{}',
      '{x}',
      '*',
      '[a-z]',
      '?',
      '"',
      '\\',
      ':',
      '::',
      '\u2028',
      '\ufeff',
      '💥',
    ];
    ids.push('x'.repeat(1022), '__proto__', '"_o":"x"}', '\r\n$3\r\nfoo\r\n');
    for (const prefix of ['', '\r\n*1\r\n$4\r\nPING\r\n \0{}*?[] ü💥 ', 'p'.repeat(5000)]) {
      const [from, to] = [makeTarget(t, server, { prefix }), makeTarget(t, server, { prefix })];
      const heard = listenTo(to, ...ids.map((id) => `t:${id}`));
      await Promise.all(ids.map((id) => to.ready(`t:${id}`)));
      for (const id of ids) publish(from, 't', id, id);
      await heard.reaches(ids.length);
      assert.deepEqual(
        heard.entries,
        ids.map((id) => ({ type: 't', id, payload: id })),
      );
      assert.deepEqual([to.stats().malformed, to.stats().connects], [0, 1]);
    }
  });

  test('fifty thousand listeners that come and go in one turn leave the one that stays', async (t) => {
    const COUNT = 50_000;
    const server = await startRedis(t);
    const target = makeTarget(t, server);
    const { all } = watch(target);
    await target.ready();
    const listener = () => {};
    const toggle = (name) => {
      for (let n = 0; n < COUNT; n++) {
        target.addEventListener(name(n), listener);
        target.removeEventListener(name(n), listener);
      }
    };
    toggle((n) => `many:${n}`);
    toggle(() => 'one:');
    target.addEventListener('one:', listener);
    await within(target.ready('one:'), 'the one', 60_000);
    await eventually(async () => (await server.command('PUBSUB', 'CHANNELS')).length === 1, 'nothing else');
    assert.deepEqual(await server.command('PUBSUB', 'CHANNELS'), ['one:']);
    assert.deepEqual([target.stats().topics, all('error'), all('gap')], [1, [], []]);
  });

  test('a listener to a topic that is longer than a message may be does not cost the connection', async (t) => {
    const server = await startRedis(t);
    const target = makeTarget(t, server, { limits: { maxMessageBytes: 200 } });
    const long = `a:${'x'.repeat(2 << 20)}`;
    const heard = listenTo(target, long, 'b:');
    await target.ready(long);
    publish(target, 'b', '', 1);
    await heard.reaches(1);
    assert.equal(target.stats().connects, 1);
  });

  test('an event at the limit arrives, one byte more is refused here and passed over there', async (t) => {
    const max = 1000;
    const server = await startRedis(t);
    const [small, large] = [makeTarget(t, server, { limits: { maxMessageBytes: max } }), makeTarget(t, server)];
    const { all } = watch(small);
    const heard = listenTo(small, 'p:');
    await Promise.all([small.ready('p:'), large.ready()]);
    const room = max - JSON.stringify({ type: 'p', id: '', payload: '' }).length;
    publish(small, 'p', '', 'x'.repeat(room));
    assert.throws(() => publish(small, 'p', '', 'x'.repeat(room + 1)), { code: 'ERR_MESSAGE_TOO_LARGE' });
    await heard.reaches(1);
    publish(large, 'p', '', 'y'.repeat(room + 1));
    publish(large, 'p', '', 'y'.repeat(room));
    await heard.reaches(2);
    assert.equal(heard.entries[1].payload.length, room);
    assert.deepEqual([small.stats().malformed, all('error').map(({ code }) => code)], [1, ['ERR_MALFORMED']]);
  });

  test('close() in every state settles everything that waits', async (t) => {
    const server = await startRedis(t);
    const opened = makeTarget(t, server);
    await opened.ready();
    const lost = makeTarget(t, server);
    await lost.ready();
    const closing = makeTarget(t, server);
    closing.close();
    const targets = {
      connecting: createRedisEventTarget({ url: deadUrl }),
      open: opened,
      reconnecting: lost,
      closing,
      closed: createRedisEventTarget({ url: deadUrl, signal: AbortSignal.abort() }),
    };
    await targets.closed.closed;
    await server.kill();
    await eventually(() => lost.state === 'reconnecting', 'it is lost');
    for (const [state, target] of Object.entries(targets)) {
      target.addEventListener('error', () => {});
      publish(target, 'a', '', state);
      const waiting = [target.ready(), target.ready('a:'), target.flush(), target.drain()].map((one) =>
        one.catch(() => {}),
      );
      for (const wrong of [null, 1000, { timeout: 5 }, { code: 1 }, { timeoutMs: -1 }])
        if (state !== 'closed' && state !== 'closing')
          assert.throws(() => target.close(wrong), { code: 'ERR_INVALID_OPTION' });
      const first = target.close({ timeoutMs: 20 });
      assert.equal(target.close(), first);
      await within(Promise.all([first, target.closed, ...waiting]), state, 3000);
      publish(target, 'a', '', state);
      await within(Promise.all([target.flush(), target.drain(), target[Symbol.asyncDispose]()]), 'no-ops', 1000);
      await assert.rejects(target.ready(), { code: 'ERR_CLOSED' });
      assert.deepEqual([target.state, target.bufferedAmount], ['closed', 0]);
    }
  });
});
