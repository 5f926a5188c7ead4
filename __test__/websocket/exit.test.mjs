// When a process ends: by itself when nothing is open, at once when it is told to, with the code that it would have without us, and never
// not at all.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { BareClient } from './bare-peers.mjs';
import { Run } from './children.mjs';
import { eventually, listenTo, turn, within } from './facts.mjs';
import { makeHub } from './targets.mjs';

/** A process that takes longer hangs. */
const PATIENCE_MS = 20_000;
const EVENTS = 10_000;

const run = (t, name, ...args) => new Run(t, PATIENCE_MS, 'exits.mjs', name, ...args);

/** A URL where nobody listens. */
async function deadUrl() {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `ws://127.0.0.1:${server.address().port}`;
  server.close();
  await once(server, 'close');
  return url;
}

/** Ended by itself, in good order, without a word on standard error. */
async function endsWell(child) {
  assert.equal(await child.end(), 0, child.stdout + child.stderr);
  assert.equal(child.stderr, '');
}

/** Sends events until the connection is gone. */
async function flood(client) {
  client.ws.on('message', () => {});
  while (client.ws.readyState === client.ws.OPEN) {
    for (let n = 0; n < 50 && client.ws.bufferedAmount < 1 << 18; n++) client.publish('p', '1', 'x'.repeat(200));
    await turn();
  }
}

describe('a process ends by itself with code 0', { concurrency: 2 }, () => {
  for (const name of [
    'nothing was made',
    'a hub was closed',
    'everything was used and closed',
    'a hub is open and unref',
  ]) {
    test(`when ${name}`, async (t) => endsWell(run(t, name)));
  }

  for (const name of ['a spoke was closed', 'the signal was aborted', 'a spoke is open and unref']) {
    test(`when ${name}`, async (t) => {
      const hub = await makeHub(t);
      await endsWell(run(t, name, hub.address.url));
    });
  }

  for (const name of ['a spoke cannot connect and is unref', 'ready() is pending and unref']) {
    test(`when ${name}`, async (t) => {
      const child = run(t, name, await deadUrl());
      await endsWell(child);
      assert.equal(child.stdout, '');
    });
  }

  test('when the hub could not bind', async (t) => {
    const hub = await makeHub(t);
    const child = run(t, 'the hub could not bind', hub.address.url);
    await endsWell(child);
    assert.match(child.stdout, /^closed ERR_LISTEN$/m);
  });

  test('when the spoke failed for good', async (t) => {
    const child = run(t, 'the spoke failed for good', await deadUrl());
    await endsWell(child);
    assert.match(child.stdout, /^error ERR_CONNECT\nclosed ERR_CONNECT$/m);
  });

  test('when the spoke failed for good and nobody listens: with a warning', async (t) => {
    const child = run(t, 'the spoke failed for good and nobody listens', await deadUrl());
    assert.equal(await child.end(), 0);
    assert.match(child.stderr, /ERR_CONNECT/);
  });

  test('when the hub ended the spoke', async (t) => {
    const hub = await makeHub(t);
    hub.addEventListener('connection', ({ detail }) => detail.connection.close(1000, 'enough'));
    const child = run(t, 'the hub ended the spoke', hub.address.url);
    await endsWell(child);
    assert.equal(child.stdout, 'closed 1000\n');
  });

  test('when a hub with connections is unref', async (t) => {
    const child = run(t, 'a hub with connections is unref');
    const bare = new BareClient(await child.line('url'));
    await endsWell(child);
    await within(bare.closed, 'the client sees the end');
  });

  test('when a worker with open targets is unref', async (t) => endsWell(run(t, 'end with a worker that is unref')));
});

describe('a process stays alive', { concurrency: 2 }, () => {
  for (const name of ['a hub is open', 'a hub is open, unref and ref']) {
    test(`while ${name}`, async (t) => {
      const child = run(t, name);
      const url = await child.line('url');
      await child.line('alive');
      const bare = await BareClient.to(t, url);
      bare.publish('end', '', null);
      await endsWell(child);
    });
  }

  test('while a spoke is open', async (t) => {
    const hub = await makeHub(t);
    const child = run(t, 'a spoke is open', hub.address.url);
    await child.line('ready');
    await child.line('alive');
    hub.dispatchEvent(createEvent('end', '', null));
    await endsWell(child);
  });

  test('while a spoke tries to connect', async (t) => endsWell(run(t, 'a spoke cannot connect', await deadUrl())));
});

describe('close() that nobody waits for', { concurrency: 2 }, () => {
  test('a hub delivers everything, then the process ends', async (t) => {
    const child = run(t, 'a hub closes behind its events');
    const bare = await BareClient.to(t, await child.line('url'));
    bare.publish('__subscribe', '', { topic: 'p:1' });
    assert.equal((await within(bare.closed, 'the close')).code, 1000);
    assert.deepEqual(
      bare.envelopes.map(({ payload }) => payload.n),
      Array.from({ length: EVENTS }, (_, n) => n),
    );
    await endsWell(child);
  });

  test('a spoke that has not even connected delivers everything, then the process ends', async (t) => {
    const hub = await makeHub(t);
    const heard = listenTo(hub, 'p:1');
    const child = run(t, 'a spoke closes behind its events', hub.address.url);
    await heard.reaches(EVENTS);
    assert.deepEqual(
      heard.entries.map(({ payload }) => payload),
      Array.from({ length: EVENTS }, (_, n) => n),
    );
    await endsWell(child);
  });

  test('a spoke that cannot connect gives up after timeoutMs and says what was lost', async (t) => {
    const child = run(t, 'a spoke without a link closes behind its events', await deadUrl());
    await endsWell(child);
    assert.match(child.stdout, /^error ERR_/m);
  });

  test('a client that does not answer holds the process no longer than timeoutMs', async (t) => {
    const child = run(t, 'a hub closes on a client that does not read');
    const bare = new BareClient(await child.line('url'));
    bare.ws.on('open', () => bare.ws.pause());
    t.after(() => bare.ws.terminate());
    await endsWell(child);
  });
});

describe('a process that is ended', { concurrency: 2 }, () => {
  test('by process.exit() in a listener of a spoke has its code', async (t) => {
    const hub = await makeHub(t);
    const child = run(t, 'exit in a listener', hub.address.url);
    await child.line('ready');
    for (let n = 0; n < 100; n++) hub.dispatchEvent(createEvent('p', '1', n));
    assert.equal(await child.end(), 7, child.stderr);
    await eventually(() => hub.connections.size === 0, 'the hub sees the end');
  });

  test('by process.exit() in onConnection has its code', async (t) => {
    const child = run(t, 'exit in onConnection');
    const bare = new BareClient(await child.line('url'));
    assert.equal(await child.end(), 7, child.stderr);
    await within(bare.closed, 'the client sees the end');
  });

  test('by process.exit() in the middle of a flood has its code', async (t) => {
    const child = run(t, 'exit in a flood');
    const url = await child.line('url');
    const clients = await Promise.all([0, 1, 2].map(() => BareClient.to(t, url)));
    for (const client of clients) client.publish('__subscribe', '', { topic: 'q:1' });
    await Promise.all(clients.map(flood));
    assert.equal(await child.end(), 7, child.stderr);
  });

  test('by process.exit() while it closes has its code', async (t) => {
    assert.equal(await run(t, 'exit while closing').end(), 7);
  });

  test('by process.exit() while workers are busy has its code', async (t) => {
    const child = run(t, 'exit with workers');
    assert.equal(await child.end(), 7, child.stderr);
    assert.doesNotMatch(child.stderr, /panic|fatal|FATAL/);
  });

  test('by SIGTERM under load ends by it', async (t) => {
    const child = run(t, 'SIGTERM under load');
    const bare = await BareClient.to(t, await child.line('url'));
    bare.publish('__subscribe', '', { topic: 'q:1' });
    const flooding = flood(bare);
    await child.line('flooded');
    child.child.kill('SIGTERM');
    assert.equal(await child.end(), 'SIGTERM', child.stderr);
    await flooding;
  });

  test('by SIGTERM under load, handled with close(), ends by itself with code 0', async (t) => {
    const child = run(t, 'SIGTERM under load, handled');
    const bare = await BareClient.to(t, await child.line('url'));
    bare.publish('__subscribe', '', { topic: 'q:1' });
    const flooding = flood(bare);
    await child.line('flooded');
    child.child.kill('SIGTERM');
    await child.line('stopping');
    assert.equal((await within(bare.closed, 'the close')).code, 1001);
    await endsWell(child);
    await flooding;
  });
});

describe('a listener that throws', { concurrency: 2 }, () => {
  /** The code and the last line of the error that a process ended with. */
  async function ending(child) {
    return { code: await child.end(), told: child.stderr.includes('Error: thrown by a listener') };
  }

  for (const name of ['a listener throws', 'an async listener rejects']) {
    test(`ends the process as the platform's EventTarget does: ${name}`, async (t) => {
      const hub = await makeHub(t);
      const child = run(t, name, hub.address.url);
      const platform = run(t, "a listener of the platform's EventTarget throws");
      await child.line('ready');
      hub.dispatchEvent(createEvent('p', '1', 1));
      const [ours, theirs] = await Promise.all([ending(child), ending(platform)]);
      assert.deepEqual(theirs, { code: 1, told: true });
      assert.deepEqual(ours, theirs);
    });
  }

  test('and is caught keeps neither the other listeners nor later events from being heard', async (t) => {
    const hub = await makeHub(t);
    const child = run(t, 'a listener throws and that is caught', hub.address.url);
    await child.line('ready');
    hub.dispatchEvent(createEvent('p', '1', 1));
    hub.dispatchEvent(createEvent('p', '1', 2));
    await endsWell(child);
    const lines = child.stdout.trim().split('\n');
    assert.deepEqual(
      lines.filter((line) => line.startsWith('heard')),
      ['heard 1', 'heard 2'],
    );
    assert.deepEqual(
      lines.filter((line) => line.startsWith('caught')),
      ['caught thrown', 'caught thrown'],
    );
  });
});

test('a child that a test has forgotten is told apart from one that ended', async (t) => {
  const child = new Run(t, 300, 'exits.mjs', 'a hub is open');
  assert.match(String(await child.end()), /^hung/);
});
