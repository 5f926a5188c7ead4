// The hub over a native port that is played by the test: connections, callbacks, whose event it was.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HubTarget } from '../../dist/hub-target.js';
import { createEvent, createPubSub } from '../../dist/index.js';
import { FakePort } from './fake-port.mjs';

function make(context, callbacks = {}, options = {}) {
  const port = new FakePort();
  const hub = new HubTarget(port, callbacks, options);
  context.after(async () => {
    hub.addEventListener('error', () => {});
    port.notice({ kind: 'closed', code: 1000, reason: '' });
    await hub.closed;
  });
  port.notice({ kind: 'open', reconnected: false, native: true });
  return { port, hub };
}

const arrival = (connection, more = {}) => ({
  kind: 'connection',
  connection,
  serial: connection * 10,
  transport: 'websocket',
  remoteAddress: '127.0.0.1:5',
  url: '/path?x=1',
  headers: 'host\nh\nx-twice\n1\nx-twice\n2\n__proto__\np',
  protocols: ['v1'],
  ...more,
});
const departure = (connection, more = {}) => ({
  kind: 'disconnection',
  connection,
  code: 1000,
  reason: '',
  clean: true,
  ...more,
});

function record(log, hub, ...names) {
  for (const name of names) hub.addEventListener(name, ({ detail }) => log.push(`${name} ${detail.connection.id}`));
}

test('a connection is announced with what is known of it, and taken back when it goes', async (t) => {
  const { port, hub } = make(t);
  const arrived = new Promise((resolve) => hub.addEventListener('connection', resolve, { once: true }));
  port.notice(arrival(1));
  const { connection } = (await arrived).detail;
  assert.deepEqual([...hub.connections], [connection]);
  const { id, transport, remoteAddress, url, protocols, identity, native, data } = connection;
  assert.deepEqual(
    { id, transport, remoteAddress, url, protocols, identity, native, data },
    {
      id: 10,
      transport: 'websocket',
      remoteAddress: '127.0.0.1:5',
      url: '/path?x=1',
      protocols: ['v1'],
      identity: undefined,
      native: false,
      data: undefined,
    },
  );
  assert.deepEqual(Object.entries(connection.headers), [
    ['host', 'h'],
    ['x-twice', '1, 2'],
    ['__proto__', 'p'],
  ]);
  assert.deepEqual([connection.bufferedAmount, connection.stats()], [1001, { connection: 1 }]);
  port.notice({ kind: 'hello', connection: 1 });
  const gone = new Promise((resolve) => hub.addEventListener('disconnection', resolve, { once: true }));
  port.notice(departure(1, { code: 1006, reason: 'reset', clean: false }));
  assert.deepEqual((await gone).detail, { connection, code: 1006, reason: 'reset', clean: false });
  assert.equal(connection.native, true);
  assert.equal(hub.connections.size, 0);
  connection.close();
  assert.deepEqual([connection.bufferedAmount, connection.stats(), port.of('disconnect')], [0, {}, []]);
});

test('without onConnection nothing is admitted by hand and no target is made', async (t) => {
  const { port } = make(t);
  port.notice(arrival(1));
  await port.delivered();
  assert.deepEqual(port.calls, []);
});

test('the order is onConnection, the connection event, admission, the first event, the disconnection event, onDisconnection', async (t) => {
  const log = [];
  const { port, hub } = make(t, {
    onConnection: (_spoke, { id }) => void log.push(`onConnection ${id}`),
    onDisconnection: (_spoke, { id }) => void log.push(`onDisconnection ${id}`),
  });
  record(log, hub, 'connection', 'disconnection');
  hub.addEventListener('a:b', (event) => log.push(`event of ${hub.sourceOf(event).id}, admitted ${port.of('admit')}`));
  port.notice(arrival(1));
  port.first(1, 'a', 'b', 1, 1);
  port.notice(departure(1));
  await port.delivered();
  assert.deepEqual(log, [
    'onConnection 10',
    'connection 10',
    'event of 10, admitted 1',
    'disconnection 10',
    'onDisconnection 10',
  ]);
});

test('a promise of onConnection holds the connection until it settles', async (t) => {
  const log = [];
  const { promise, resolve } = Promise.withResolvers?.() ?? withResolvers();
  const { port, hub } = make(t, { onConnection: () => promise });
  record(log, hub, 'connection');
  port.notice(arrival(1));
  await port.delivered();
  assert.deepEqual([log, port.of('admit'), hub.connections.size], [[], [], 0]);
  resolve();
  await port.delivered();
  assert.deepEqual([log, port.of('admit'), hub.connections.size], [['connection 10'], [[1]], 1]);
});

/** Promise.withResolvers is not in Node 20. */
function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

for (const [name, onConnection] of Object.entries({
  throws: () => {
    throw new Error('not you');
  },
  rejects: async () => {
    throw new Error('not you');
  },
})) {
  test(`an onConnection that ${name} ends the connection with 1011 and is an error event`, async (t) => {
    const log = [];
    const { port, hub } = make(t, { onConnection, onDisconnection: () => void log.push('onDisconnection') });
    record(log, hub, 'connection', 'disconnection');
    hub.addEventListener('error', ({ detail }) => log.push(detail.code, detail.cause.message));
    port.notice(arrival(1));
    await port.delivered();
    assert.deepEqual([port.of('disconnect'), port.of('admit')], [[[1, 1011, 'onConnection failed']], []]);
    port.notice(departure(1, { code: 1011 }));
    await port.delivered();
    assert.deepEqual(log, ['ERR_HANDLER_FAILED', 'not you', 'onDisconnection']);
  });
}

test('a connection that goes while onConnection is pending is never announced; its signal tells, onDisconnection comes last', async (t) => {
  const log = [];
  const { promise, resolve } = withResolvers();
  const { port, hub } = make(t, {
    onConnection: async (spoke, { signal }) => {
      signal.addEventListener('abort', () => log.push('aborted'));
      await promise;
      log.push(`onConnection done, ${spoke.state}`);
    },
    onDisconnection: () => void log.push('onDisconnection'),
  });
  record(log, hub, 'connection', 'disconnection');
  port.notice(arrival(1));
  port.notice(departure(1));
  await port.delivered();
  resolve();
  await port.delivered();
  assert.deepEqual(log, ['aborted', 'onConnection done, closed', 'onDisconnection']);
  assert.deepEqual(port.of('admit'), []);
});

test('a signal asked for after the end is aborted already', async (t) => {
  let connection;
  const { port, hub } = make(t);
  hub.addEventListener('connection', ({ detail }) => (connection = detail.connection));
  port.notice(arrival(1));
  port.notice(departure(1));
  await port.delivered();
  assert.equal(connection.signal.aborted, true);
});

test('the target of a connection sends to it alone and hears it alone', async (t) => {
  const spokes = new Map();
  const { port, hub } = make(t, { onConnection: (spoke, { id }) => void spokes.set(id, spoke) });
  port.notice(arrival(1));
  port.notice(arrival(2));
  await port.delivered();
  const [one, two] = [spokes.get(10), spokes.get(20)];
  for (const n of [1, 2]) one.dispatchEvent(createEvent('a', 'b', n));
  hub.dispatchEvent(createEvent('a', 'b', 3));
  assert.deepEqual(port.of('publishOnceTo'), [[1, 'a', 'b', '1']]);
  assert.deepEqual(port.of('publishTo'), [[1, 101, '2']]);
  assert.deepEqual(port.of('publish'), [[101, '3']]);
  const log = [];
  const listener = (event) => log.push(`two ${event.detail.payload} ${event.target === two} ${hub.sourceOf(event).id}`);
  two.addEventListener('a:b', listener);
  hub.addEventListener('a:b', (event) =>
    log.push(`hub ${event.detail.payload} ${event.target === hub} ${hub.sourceOf(event).id}`),
  );
  one.addEventListener('x:y', () => assert.fail('two sent it'));
  assert.deepEqual(port.of('listenTo'), [
    [2, 'a:b'],
    [1, 'x:y'],
  ]);
  port.first(1, 'a', 'b', 'from one', 1);
  port.again(1, 'from two', { connection: 2 });
  port.first(2, 'x', 'y', 'from two', 2);
  await port.delivered();
  assert.deepEqual(log, ['hub from one true 10', 'hub from two true 20', 'two from two true 20']);
  two.removeEventListener('a:b', listener);
  assert.deepEqual(port.of('unlistenTo'), [[2, 'a:b']]);
});

test('the target of a connection has a life cycle of its own and closes its connection alone', async (t) => {
  const spokes = [];
  const { port } = make(t, { onConnection: (made) => void spokes.push(made) });
  port.notice(arrival(1));
  await port.delivered();
  const [spoke] = spokes;
  spoke.addEventListener('a:b', () => {});
  assert.deepEqual([await spoke.ready(), await spoke.ready('a:b')], [{ acknowledged: false }, { acknowledged: true }]);
  assert.throws(() => spoke.dispatchEvent(new Event('chat')), { code: 'ERR_INVALID_TOPIC' });
  assert.equal(spoke.unref().ref(), spoke);
  const items = createPubSub({ eventTarget: spoke }).subscribe('a', 'c');
  const closing = spoke.close({ code: 4000, reason: 'enough' });
  assert.deepEqual(port.of('disconnect'), [[1, 4000, 'enough']]);
  port.notice(departure(1, { code: 4000, reason: 'enough' }));
  await closing;
  assert.deepEqual(
    [await spoke.closed, await items.next()],
    [
      { code: 4000, reason: 'enough' },
      { value: undefined, done: true },
    ],
  );
  spoke.dispatchEvent(createEvent('a', 'b', 1));
  assert.deepEqual(port.of('publishOnceTo'), []);
});

test('backpressure is told by callback and event', async (t) => {
  const log = [];
  const { port, hub } = make(t, { onBackpressure: ({ id }, bytes) => log.push(`callback ${id} ${bytes}`) });
  hub.addEventListener('backpressure', ({ detail }) =>
    log.push(`event ${detail.connection.id} ${detail.bufferedAmount}`),
  );
  port.notice(arrival(1));
  port.notice({ kind: 'backpressure', connection: 1, bufferedAmount: 5 });
  await port.delivered();
  assert.deepEqual(log, ['callback 10 5', 'event 10 5']);
});

test('onDisconnection without onConnection gets a target that has ended', async (t) => {
  const log = [];
  const { port } = make(t, { onDisconnection: (spoke, { id }) => void log.push(spoke.state, id) });
  port.notice(arrival(1));
  port.notice(departure(1));
  await port.delivered();
  assert.deepEqual(log, ['closed', 10]);
});

test('the hub’s end takes leave of connections that the engine did not', async (t) => {
  const log = [];
  const { port, hub } = make(t, { onDisconnection: () => void log.push('onDisconnection') });
  record(log, hub, 'disconnection');
  hub.addEventListener('close', () => log.push('close'));
  port.notice(arrival(1));
  port.notice({ kind: 'closed', code: 1001, reason: '' });
  await port.delivered();
  assert.deepEqual(log, ['disconnection 10', 'onDisconnection', 'close']);
});

test('the address is there while the hub is bound, and subscribers are asked of the engine', async () => {
  const port = new FakePort();
  const hub = new HubTarget(port, {}, {});
  assert.equal(hub.address, null);
  port.notice({ kind: 'open', reconnected: false, native: true });
  assert.deepEqual(await hub.ready(), { acknowledged: true });
  assert.equal(hub.address.port, 1);
  assert.equal(hub.subscribers('a:b'), 7);
  port.notice({ kind: 'closed', code: 1000, reason: '' });
  await hub.closed;
  assert.deepEqual([hub.address, hub.subscribers('a:b')], [null, 0]);
});

test('an event of this process has no source', () => {
  assert.equal(HubTarget.prototype.sourceOf(createEvent('a', 'b', 1)), undefined);
  assert.equal(HubTarget.prototype.sourceOf(new Event('x')), undefined);
});
