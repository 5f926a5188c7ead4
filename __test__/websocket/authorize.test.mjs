// Who comes in and what they may do, as applications see it. All cells of actions, topics, identities and grants: ../conformance/permissions.mjs.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { before, describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { generate } from 'selfsigned';
import { WebSocket } from 'ws';
import { BareClient } from './bare-peers.mjs';
import { eventually, Log, listenTo, next, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

/** The answer of a hub to a handshake of `ws`: an HTTP status, or the code of a close. */
async function knock(t, hub, options) {
  const socket = new WebSocket(hub.address.url, options);
  t.after(() => socket.terminate());
  socket.on('error', () => {});
  const answers = [
    once(socket, 'unexpected-response').then(([, response]) => response.statusCode),
    once(socket, 'close').then(([code]) => code),
  ];
  return within(Promise.race(answers), 'an answer');
}

const pageOf = (hub) => ({ origin: `http://127.0.0.1:${hub.address.port}` });

describe('authorize.connect', () => {
  test('is asked with what is known of the peer, before onConnection and before any event', async (t) => {
    const log = new Log();
    const hub = await makeHub(t, {
      authorize: {
        async connect({ transport, remoteAddress, url, headers, protocols, identity }) {
          await new Promise(setImmediate);
          log.push([transport, remoteAddress.split(':')[0], url, headers['x-token'], protocols, identity]);
          return { identity: 'ann', data: { n: 1 }, publish: ['*'] };
        },
      },
      onConnection: (_, { identity, data }) => log.push(['onConnection', identity, data]),
    });
    hub.addEventListener('a:', ({ detail }) => log.push(['event', detail.payload]));
    const options = { headers: { 'x-token': 't' }, protocols: ['p1'] };
    const spoke = makeSpoke(t, `${hub.address.url}where?x=1`, options);
    spoke.dispatchEvent(createEvent('a', '', 7));
    assert.deepEqual(await log.reaches(3), [
      ['websocket', '127.0.0.1', '/where?x=1', 't', ['p1'], undefined],
      ['onConnection', 'app:ann', { n: 1 }],
      ['event', 7],
    ]);
  });

  test('true lets in with everything, an object with what it lists', async (t) => {
    const answers = [true, {}];
    const hub = await makeHub(t, { authorize: { connect: () => answers.shift() } });
    const free = await makeOpenSpoke(t, hub);
    free.addEventListener('a:', () => {});
    assert.deepEqual(await free.ready('a:'), { acknowledged: true });
    const bound = await makeOpenSpoke(t, hub);
    bound.addEventListener('error', () => {});
    bound.addEventListener('a:', () => {});
    await assert.rejects(bound.ready('a:'), { code: 'ERR_FORBIDDEN' });
    assert.deepEqual(
      [...hub.connections].map(({ identity, data }) => [identity, data]),
      [
        [undefined, undefined],
        [undefined, undefined],
      ],
    );
  });

  for (const [answer, status, code] of [
    [false, 403, 4403],
    [undefined, 401, 4401],
    [null, 401, 4401],
  ]) {
    test(`${answer} is HTTP ${status}, for pages close code ${code}`, async (t) => {
      const log = new Log();
      const hub = await makeHub(t, {
        authorize: { connect: () => answer },
        onConnection: () => log.push('onConnection'),
        onDisconnection: () => log.push('onDisconnection'),
      });
      assert.equal(await knock(t, hub), status);
      assert.equal(await knock(t, hub, pageOf(hub)), code);
      assert.deepEqual([log.length, hub.stats().accepted, hub.connections.size], [0, 0, 0]);
    });
  }

  for (const [name, connect] of [
    ['a throw', () => assert.fail('of the application')],
    ['a rejection', async () => assert.fail('of the application')],
    ['a number', () => 1],
    ['a list that is none', () => ({ subscribe: 'chat:*' })],
    ['a misspelt list', () => ({ subscirbe: ['*'] })],
    ['an identity that is no text', () => ({ identity: 7 })],
  ]) {
    test(`${name} lets nobody in and is told`, async (t) => {
      const hub = await makeHub(t, { authorize: { connect } });
      const told = next(hub, 'error');
      assert.equal(await knock(t, hub), 503);
      assert.equal((await told).code, 'ERR_HANDLER_FAILED');
      assert.equal(await knock(t, hub, pageOf(hub)), 1011);
      assert.equal(hub.stats().accepted, 0);
    });
  }

  test('who is not answered about in time is refused, and an answer that comes later changes nothing', async (t) => {
    let answer;
    const hub = await makeHub(t, {
      limits: { handshakeMs: 50 },
      authorize: { connect: () => new Promise((resolve) => (answer = resolve)) },
    });
    assert.equal(await knock(t, hub), 408);
    answer(true);
    assert.equal(await knock(t, hub, pageOf(hub)), 4408);
    answer(true);
    await new Promise(setImmediate);
    assert.equal(hub.stats().accepted, 0);
  });

  test('a foreign page is refused without asking', async (t) => {
    const hub = await makeHub(t, { authorize: { connect: () => assert.fail('not asked') } });
    assert.equal(await knock(t, hub, { origin: 'http://evil.example' }), 403);
  });

  test('with it a hub may listen where others reach it', async (t) => {
    const hub = await makeHub(t, { listen: { port: 0, host: '0.0.0.0' }, authorize: { connect: () => false } });
    assert.equal(await knock(t, hub), 403);
  });

  test('a spoke that is refused ends; one that is not known comes once more, with credentials asked for anew', async (t) => {
    const asked = [];
    const hub = await makeHub(t, {
      authorize: {
        connect({ headers }) {
          asked.push(headers['x-token']);
          return headers['x-token'] === '2' ? true : headers['x-token'] === 'no' ? false : undefined;
        },
      },
    });
    const refused = makeSpoke(t, hub, { headers: { 'x-token': 'no' } });
    refused.addEventListener('error', () => {});
    await assert.rejects(within(refused.ready(), 'a rejection'), { code: 'ERR_FORBIDDEN' });
    let n = 0;
    await makeOpenSpoke(t, hub, { headers: () => ({ 'x-token': String(++n) }) });
    const unknown = makeSpoke(t, hub, { headers: { 'x-token': 'x' } });
    unknown.addEventListener('error', () => {});
    assert.equal((await within(unknown.closed, 'the end')).error.code, 'ERR_NOT_IDENTIFIED');
    assert.deepEqual(asked, ['no', '1', '2', 'x', 'x']);
  });

  test('a name of the application never passes for a proven one', async (t) => {
    const names = ['ann', 'app:bob', 'tls:SHA256:00', 'iroh:00'];
    const hub = await makeHub(t, { authorize: { connect: () => ({ identity: names.shift() }) } });
    // Somebody who calls himself "app:bob" is not bob.
    for (const expected of ['app:ann', 'app:app:bob', 'app:tls:SHA256:00', 'app:iroh:00']) {
      await makeOpenSpoke(t, hub);
      assert.equal([...hub.connections].at(-1).identity, expected);
    }
  });

  test('an identity that would not stay itself on its way lets nobody in', async (t) => {
    const names = ['\ud800', '', 7];
    const hub = await makeHub(t, { authorize: { connect: () => ({ identity: names.shift() }) } });
    hub.addEventListener('error', () => {});
    while (names.length > 0) assert.equal(await knock(t, hub), 503);
  });

  test('options that are none throw at once', () => {
    const make = (authorize) => () => createWebSocketServerEventTarget({ listen: { port: 0 }, authorize });
    for (const authorize of [true, {}, { subscribe: () => true }, { connect: true }, { connect() {}, publish() {} }])
      assert.throws(make(authorize), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
  });
});

describe('authorize.subscribe', () => {
  test('is asked about what patterns refuse, with the connection; a throw is a no and is told', async (t) => {
    const asked = [];
    const hub = await makeHub(t, {
      authorize: {
        connect: () => ({ data: 'r1', subscribe: ['free:*'] }),
        async subscribe(topic, { data, id }) {
          asked.push([topic, id]);
          if (topic === 'room:broken') throw new Error('of the application');
          return topic === `room:${data}`;
        },
      },
    });
    const told = next(hub, 'error');
    const spoke = await makeOpenSpoke(t, hub);
    spoke.addEventListener('error', () => {});
    for (const topic of ['room:r1', 'room:r2', 'room:broken', 'free:1']) spoke.addEventListener(topic, () => {});
    const log = listenTo(spoke, 'room:r1');
    assert.deepEqual(await spoke.ready('room:r1'), { acknowledged: true });
    for (const topic of ['room:r2', 'room:broken']) await assert.rejects(spoke.ready(topic), { code: 'ERR_FORBIDDEN' });
    await spoke.ready('free:1');
    assert.equal((await told).code, 'ERR_HANDLER_FAILED');
    assert.deepEqual(asked, [
      ['room:r1', 1],
      ['room:r2', 1],
      ['room:broken', 1],
    ]);
    hub.dispatchEvent(createEvent('room', 'r2', 0));
    hub.dispatchEvent(createEvent('room', 'r1', 1));
    await log.reaches(1);
    assert.equal(hub.subscribers('room:r2'), 0);
  });

  test('a plain peer gets what is allowed and is told nothing else', async (t) => {
    const hub = await makeHub(t, {
      authorize: { connect: () => ({}), subscribe: async (topic) => topic === 'a:' },
    });
    const bare = await BareClient.to(t, hub);
    bare.publish('__subscribe', '', { topic: 'b:' });
    await bare.subscribe(hub, 'a:');
    hub.dispatchEvent(createEvent('b', '', 0));
    hub.dispatchEvent(createEvent('a', '', 1));
    await bare.until('a:');
    assert.deepEqual(bare.frames.entries, ['{"type":"a","id":"","payload":1}']);
  });
});

describe('grants that change', () => {
  test('setGrants ends what it does not cover at once, and the spoke is told', async (t) => {
    const hub = await makeHub(t, { relay: true, authorize: { connect: () => true } });
    const spoke = await makeOpenSpoke(t, hub);
    const errors = new Log();
    spoke.addEventListener('error', ({ detail }) => errors.push(detail));
    const log = listenTo(spoke, 'a:', 'b:');
    await Promise.all([spoke.ready('a:'), spoke.ready('b:')]);
    const [connection] = hub.connections;
    connection.setGrants({ subscribe: ['b:'] });
    assert.deepEqual([hub.subscribers('a:'), hub.subscribers('b:')], [0, 1]);
    hub.dispatchEvent(createEvent('a', '', 0));
    hub.dispatchEvent(createEvent('b', '', 1));
    assert.deepEqual(await log.reaches(1), [{ type: 'b', id: '', payload: 1 }]);
    await errors.has(({ code, message }) => code === 'ERR_FORBIDDEN' && message.includes('"a:"'));
    spoke.dispatchEvent(createEvent('b', '', 2));
    await errors.has(({ message }) => message.includes('publishing to "b:"'));
    assert.equal(spoke.stats().refused, 1);
    connection.setGrants({ subscribe: ['*'], publish: ['*'] });
    spoke.removeEventListener('a:', () => {});
    const other = () => {};
    spoke.addEventListener('c:', other);
    await spoke.ready('c:');
  });

  test('setGrants says what is wrong with grants, and does nothing to a connection that is gone', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    const [connection] = hub.connections;
    for (const grants of [undefined, [], { subscribe: '*' }, { publish: [1] }, { subscirbe: [] }])
      assert.throws(() => connection.setGrants(grants), { name: 'TypeError', code: 'ERR_INVALID_OPTION' });
    await spoke.close();
    await eventually(() => connection.signal.aborted, 'the connection is gone');
    connection.setGrants({});
  });

  test('close(4403) is final for the spoke, and nothing it says afterwards is heard', async (t) => {
    const hub = await makeHub(t);
    const spoke = await makeOpenSpoke(t, hub);
    spoke.addEventListener('error', () => {});
    const log = listenTo(hub, 'a:');
    await hub.ready('a:');
    const [connection] = hub.connections;
    connection.close(4403, 'revoked');
    spoke.dispatchEvent(createEvent('a', '', 1));
    const { code, reason, error } = await within(spoke.closed, 'the end');
    assert.deepEqual([code, reason, error.code], [4403, 'revoked', 'ERR_FORBIDDEN']);
    assert.equal(log.length, 0);
  });

  for (const code of [4401, 4403])
    test(`what close(${code}) finds on its way to the listeners is heard by nobody`, async (t) => {
      const heard = [];
      const hub = await makeHub(t, {
        onConnection: (target) => target.addEventListener('a:', ({ detail }) => heard.push(['target', detail.payload])),
      });
      hub.addEventListener('a:', (event) => {
        heard.push(['hub', event.detail.payload]);
        hub.sourceOf(event).close(code);
      });
      const gone = next(hub, 'disconnection');
      const spoke = await makeOpenSpoke(t, hub, { reconnect: false });
      spoke.addEventListener('error', () => {});
      for (let n = 0; n < 1000; n++) spoke.dispatchEvent(createEvent('a', '', n));
      assert.equal((await gone).code, code);
      assert.deepEqual(heard, [
        ['hub', 0],
        ['target', 0],
      ]);
    });
});

describe('identities that a transport has proven', () => {
  let pem;
  before(async () => {
    const extensions = [
      { name: 'basicConstraints', cA: false },
      { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] },
    ];
    const { cert, private: key } = await generate([{ name: 'commonName', value: 'both' }], {
      keySize: 2048,
      algorithm: 'sha256',
      extensions,
    });
    pem = { cert, key };
  });

  test('a client certificate is an identity; without one the spoke ends', async (t) => {
    const seen = [];
    const hub = await makeHub(t, {
      tls: { ...pem, ca: pem.cert, requestCert: true },
      authorize: {
        connect({ identity }) {
          seen.push(identity);
          return { subscribe: ['direct:{identity}'] };
        },
      },
    });
    const spoke = await makeOpenSpoke(t, hub, { tls: { ca: pem.cert, ...pem } });
    const print = new X509Certificate(pem.cert).fingerprint256.replaceAll(':', '').toLowerCase();
    const identity = `tls:SHA256:${print}`;
    assert.deepEqual(seen, [identity]);
    assert.equal([...hub.connections][0].identity, identity);
    spoke.addEventListener(`direct:${identity}`, () => {});
    await spoke.ready(`direct:${identity}`);
    const nobody = makeSpoke(t, hub, { tls: { ca: pem.cert } });
    nobody.addEventListener('error', () => {});
    assert.equal((await within(nobody.closed, 'the end')).error.code, 'ERR_TLS');
    assert.equal(seen.length, 1);
  });
});
