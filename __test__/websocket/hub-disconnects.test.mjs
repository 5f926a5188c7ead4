// Connections that a hub ends: by close(code, reason), and because a client does not read.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { BareClient } from './bare-peers.mjs';
import { eventually, Log, next, within } from './facts.mjs';
import { makeHub, makeOpenSpoke } from './targets.mjs';

describe('connection.close(code, reason)', () => {
  const reason = 'reason: gr\u00fc\u00df \u{1f600}';

  for (const code of [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4000, 4401, 4403, 4408, 4999]) {
    test(`${code} is seen verbatim by a bare client`, async (t) => {
      const hub = await makeHub(t);
      const bare = await BareClient.to(t, hub);
      const gone = next(hub, 'disconnection');
      await eventually(() => hub.connections.size === 1, 'the connection');
      const [connection] = hub.connections;
      const { signal } = connection;
      assert.equal(signal.aborted, false);
      connection.close(code, reason);
      assert.deepEqual(await within(bare.closed, 'the close'), { code, reason });
      const detail = await gone;
      assert.ok(detail.connection === connection);
      assert.deepEqual([detail.code, detail.reason, detail.clean], [code, reason, true]);
      assert.equal(signal.aborted, true);
      assert.equal(connection.signal.aborted, true);
      // Nothing is left to close, send to or count.
      connection.close(1000, 'again');
      assert.equal(connection.bufferedAmount, 0);
      assert.equal(hub.connections.size, 0);
    });
  }

  for (const code of [1000, 4403]) {
    test(`${code} ends our spoke, which tells it verbatim`, async (t) => {
      const hub = await makeHub(t);
      const spoke = await makeOpenSpoke(t, hub);
      spoke.addEventListener('error', () => {});
      const [connection] = hub.connections;
      connection.close(code, reason);
      const closed = await within(spoke.closed, 'closed');
      assert.deepEqual([closed.code, closed.reason], [code, reason]);
      assert.equal(closed.error?.code, code === 1000 ? undefined : 'ERR_FORBIDDEN');
    });
  }

  for (const code of [1001, 1012, 4000]) {
    test(`${code} ends our spoke that does not reconnect, which tells it verbatim`, async (t) => {
      const hub = await makeHub(t);
      const spoke = await makeOpenSpoke(t, hub, { reconnect: false });
      spoke.addEventListener('error', () => {});
      const [connection] = hub.connections;
      connection.close(code, reason);
      const closed = await within(spoke.closed, 'closed');
      assert.deepEqual([closed.code, closed.reason], [code, reason]);
      assert.ok(closed.error.code.startsWith('ERR_'));
    });

    test(`after ${code} our spoke comes back`, async (t) => {
      const hub = await makeHub(t);
      const spoke = await makeOpenSpoke(t, hub);
      const lost = next(spoke, 'reconnecting');
      const open = next(spoke, 'open');
      const [connection] = hub.connections;
      connection.close(code, reason);
      const { cause } = await lost;
      assert.ok(cause.message.includes(String(code)) && cause.message.includes(reason), cause.message);
      assert.deepEqual(await open, { reconnected: true, native: true });
    });
  }

  test('what was dispatched before it is delivered, what comes after is not', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target, connection) => targets.push({ target, connection }) });
    const bare = await BareClient.to(t, hub);
    await bare.subscribe(hub, 'p:1');
    const [{ target, connection }] = await targets.reaches(1);
    for (let n = 0; n < 500; n++) hub.dispatchEvent(createEvent('p', '1', n));
    for (let n = 500; n < 1000; n++) target.dispatchEvent(createEvent('p', '1', n));
    connection.close(4001, 'enough');
    hub.dispatchEvent(createEvent('p', '1', 'after'));
    target.dispatchEvent(createEvent('p', '1', 'after'));
    assert.deepEqual(await within(bare.closed, 'the close'), { code: 4001, reason: 'enough' });
    assert.deepEqual(
      bare.envelopes.map(({ payload }) => payload),
      Array.from({ length: 1000 }, (_, n) => n),
    );
  });

  test('close() of the target of a connection does the same', async (t) => {
    const targets = new Log();
    const hub = await makeHub(t, { onConnection: (target) => targets.push(target) });
    const bare = await BareClient.to(t, hub);
    const [target] = await targets.reaches(1);
    const closing = target.close({ code: 4002, reason: 'by the target' });
    assert.equal(target.close(), closing);
    assert.deepEqual(await within(bare.closed, 'the close'), { code: 4002, reason: 'by the target' });
    await within(closing, 'close()');
    assert.deepEqual(await target.closed, { code: 4002, reason: 'by the target' });
    assert.equal(target.state, 'closed');
    assert.equal(target.dispatchEvent(createEvent('p', '1', 1)), true);
  });
});

describe('a client that does not read', () => {
  test('is cut with 1013 and told about, while the others get everything', async (t) => {
    const told = new Log();
    const hub = await makeHub(t, {
      maxBufferedAmount: 256 << 10,
      onBackpressure: (connection, bufferedAmount) => told.push({ connection, bufferedAmount }),
    });
    const events = new Log();
    hub.addEventListener('backpressure', ({ detail }) => events.push(detail));
    const gone = next(hub, 'disconnection', 60_000);
    const [slow, quick] = [await BareClient.to(t, hub), await BareClient.to(t, hub)];
    await slow.subscribe(hub, 'p:1');
    await quick.subscribe(hub, 'p:1');
    const [slowConnection] = hub.connections;
    slow.ws.pause();
    const filler = 'x'.repeat(10_000);
    let sent = 0;
    while (told.length === 0) {
      for (let n = 0; n < 20; n++) hub.dispatchEvent(createEvent('p', '1', { n: sent++, filler }));
      // As fast as the other client reads.
      await quick.frames.reaches(Math.max(0, sent - 200));
      assert.ok(sent < 20_000, 'a client that does not read has taken 200 MB');
    }
    // It reads again in time to see why.
    slow.ws.resume();
    const { code, reason } = await within(slow.closed, 'the close of the slow client');
    assert.equal(code, 1013);
    t.diagnostic(`cut after ${sent} events of 10 KB: ${reason}`);

    assert.equal(told.length, 1);
    assert.ok(told.entries[0].connection === slowConnection);
    assert.ok(told.entries[0].bufferedAmount > 256 << 10, String(told.entries[0].bufferedAmount));
    await events.reaches(1);
    assert.ok(events.entries[0].connection === slowConnection);
    const { connection, code: goneCode } = await gone;
    assert.ok(connection === slowConnection);
    assert.equal(goneCode, 1013);

    hub.dispatchEvent(createEvent('p', '1', { n: sent++, filler: 'last' }));
    await quick.frames.reaches(sent);
    const numbers = (client) => client.envelopes.map(({ payload }) => payload.n);
    assert.deepEqual(
      numbers(quick),
      Array.from({ length: sent }, (_, n) => n),
    );
    // What the slow one got is the beginning, without holes.
    const got = numbers(slow);
    assert.deepEqual(
      got,
      Array.from({ length: got.length }, (_, n) => n),
    );
    assert.ok(got.length < sent);
    const { slowConsumers, dropped } = hub.stats();
    assert.equal(slowConsumers, 1);
    assert.equal(Number(/^\d+/.exec(reason)[0]), dropped, 'the drop is counted');
  });

  test('a spoke of ours that was cut knows why, comes back and is told of the gap', async (t) => {
    const hub = await makeHub(t, { maxBufferedAmount: 64 << 10, stallMs: 0 });
    const spoke = await makeOpenSpoke(t, hub);
    const log = new Log();
    spoke.addEventListener('reconnecting', ({ detail }) => log.push(detail.cause.code));
    spoke.addEventListener('gap', ({ detail }) => log.push(detail.cause));
    spoke.addEventListener('p:1', () => {});
    await spoke.ready('p:1');
    const filler = 'x'.repeat(60_000);
    // This turn never ends for the spoke: its inbox fills, it stops reading, and the hub does not wait for it.
    const deadline = Date.now() + 20_000;
    while (hub.stats().slowConsumers === 0 && Date.now() < deadline) {
      if (hub.bufferedAmount < 1 << 20) hub.dispatchEvent(createEvent('p', '1', filler));
    }
    await log.reaches(2, 20_000);
    assert.equal(hub.stats().slowConsumers, 1);
    assert.deepEqual(log.entries.slice(0, 2), ['ERR_SLOW_CONSUMER', 'slow-consumer']);
  });

  test('readers that keep reading lose nothing of a tight loop', async (t) => {
    const hub = await makeHub(t);
    const clients = await Promise.all(Array.from({ length: 4 }, () => BareClient.to(t, hub)));
    const counts = clients.map(() => 0);
    for (const [index, { ws, frames }] of clients.entries()) {
      // Counted, not kept.
      ws.removeAllListeners('message');
      ws.on('message', (data) => {
        if (data.includes('"last"')) frames.push(data.toString());
        else counts[index]++;
      });
    }
    for (const client of clients) await client.subscribe(hub, 'p:1');
    const filler = 'x'.repeat(1000);
    for (let n = 0; n < 10_000; n++) hub.dispatchEvent(createEvent('p', '1', filler));
    hub.dispatchEvent(createEvent('p', '1', 'last'));
    await Promise.all(clients.map(({ frames }) => frames.reaches(1, 30_000)));
    assert.deepEqual(counts, [10_000, 10_000, 10_000, 10_000]);
    assert.equal(hub.stats().dropped, 0);
  });
});
