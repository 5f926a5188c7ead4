// Strangers over Iroh: peers on the official binding that know frames and __subscribe only, as spokes of our hub and as the hub of our spoke.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createIrohSpokeEventTarget } from '@alkdev/pubsub-native/event-target-iroh-spoke';
import { eventually, Log, listenTo, within } from '../websocket/facts.mjs';
import { eager, makeEndpoint, makeHub, makeSpoke } from './endpoints.mjs';
import { ALPN, frame, OfficialPeer, officialEndpoint, unavailable } from './official-peer.mjs';

/** The byte vectors that docs/protocol.md shows: an event, and the subscription to its topic. */
const EVENT = '0000002f7b2274797065223a22636861742e6d7367222c226964223a227231222c227061796c6f6164223a7b226e223a317d7d';
const SUBSCRIBE =
  '000000407b2274797065223a225f5f737562736372696265222c226964223a22222c227061796c6f6164223a7b22746f706963223a22636861742e6d73673a7231227d7d';
const TOPIC = 'chat.msg:r1';
const envelope = { type: 'chat.msg', id: 'r1', payload: { n: 1 } };
const hex = (text) => Buffer.from(text, 'hex');
const textOf = (bytes) => hex(bytes).subarray(4).toString();

describe('spokes on the official binding at our hub', { skip: unavailable }, () => {
  test('both byte vectors are understood and written, to the byte', async (t) => {
    const { hub, endpoint } = await makeHub(t);
    const heard = listenTo(hub, TOPIC);
    const peer = await OfficialPeer.dial(t, endpoint, hex(SUBSCRIBE));
    await eventually(() => hub.subscribers(TOPIC) === 1, 'the official spoke is subscribed');
    hub.dispatchEvent(createEvent('chat.msg', 'r1', { n: 1 }));
    await peer.frames.reaches(1);
    await peer.write(hex(EVENT));
    await heard.reaches(1);
    assert.deepEqual([peer.frames.entries, heard.entries], [[EVENT], [envelope]]);
    assert.deepEqual(
      [...hub.connections.values()].map(({ native, transport }) => ({ native, transport })),
      [{ native: false, transport: 'iroh' }],
    );
  });

  test('frames cut anywhere and frames glued together are the same frames', async (t) => {
    const { hub, endpoint } = await makeHub(t);
    const heard = listenTo(hub, TOPIC);
    const peer = await OfficialPeer.dial(t, endpoint, hex(EVENT).subarray(0, 1));
    for (const byte of hex(EVENT).subarray(1)) await peer.write([byte]);
    await peer.write(Buffer.concat([hex(EVENT), hex(SUBSCRIBE), hex(EVENT)]));
    await heard.reaches(3);
    assert.deepEqual(heard.entries, [envelope, envelope, envelope]);
    await eventually(() => hub.subscribers(TOPIC) === 1, 'the subscription between the events counts');
  });

  test('two of them and one of our spokes hear each other through a hub that relays, and nothing they do not know', async (t) => {
    const { hub, endpoint } = await makeHub(t, { relay: true });
    const [one, two] = [
      await OfficialPeer.dial(t, endpoint, hex(SUBSCRIBE)),
      await OfficialPeer.dial(t, endpoint, hex(SUBSCRIBE)),
    ];
    const spoke = await makeSpoke(t, endpoint);
    const atSpoke = listenTo(spoke, TOPIC);
    await spoke.ready(TOPIC);
    await eventually(() => hub.subscribers(TOPIC) === 3, 'all three are subscribed');
    await one.write(hex(EVENT));
    await Promise.all([two.frames.reaches(1), atSpoke.reaches(1)]);
    spoke.dispatchEvent(createEvent('chat.msg', 'r1', { n: 1 }));
    await Promise.all([one.frames.reaches(1), two.frames.reaches(2)]);
    await hub.close();
    await within(Promise.all([one.read, two.read]), 'both streams end');
    assert.deepEqual([one.frames.entries, two.frames.entries, atSpoke.entries], [[EVENT], [EVENT, EVENT], [envelope]]);
  });

  test('code and reason of a close reach them, and theirs reach the hub', async (t) => {
    const gone = new Log();
    const { hub, endpoint } = await makeHub(t);
    hub.addEventListener('disconnection', ({ detail: { code, reason } }) => gone.push({ code, reason }));
    const closed = await OfficialPeer.dial(t, endpoint, hex(SUBSCRIBE));
    await eventually(() => hub.connections.size === 1, 'it is in');
    for (const connection of hub.connections.values()) connection.close(4403, 'not you');
    assert.match(await within(closed.connection.closed(), 'it hears why'), /not you.*4403/s);
    const closes = await OfficialPeer.dial(t, endpoint, hex(SUBSCRIBE));
    await eventually(() => hub.connections.size === 1, 'it is in');
    closes.connection.close(1001n, [...Buffer.from('lunch')]);
    const [, last] = await gone.reaches(2);
    assert.deepEqual(last, { code: 1001, reason: 'lunch' });
  });
});

describe('our spoke at a hub on the official binding', { skip: unavailable }, () => {
  test('it is a plain hub by its protocol, without a time-out, and events flow both ways, to the byte', async (t) => {
    const { hub, spoke } = await atOfficialHub(t);
    const heard = listenTo(spoke, TOPIC);
    assert.deepEqual(await within(spoke.ready(TOPIC), 'ready'), { acknowledged: false });
    const [subscription] = await hub.frames.reaches(1);
    const { type, id, payload } = JSON.parse(textOf(subscription));
    assert.deepEqual([type, id, payload.topic], ['__subscribe', '', TOPIC]);
    await hub.write(hex(EVENT));
    await heard.reaches(1);
    spoke.dispatchEvent(createEvent('chat.msg', 'r1', { n: 1 }));
    const [, event] = await hub.frames.reaches(2);
    assert.deepEqual([heard.entries, event], [[envelope], EVENT]);
  });

  test('close codes that mean no return end the spoke with code and reason', async (t) => {
    for (const [code, reason] of [
      [1000, 'done'],
      [4403, 'not you'],
    ]) {
      const { hub, spoke } = await atOfficialHub(t);
      spoke.addEventListener('error', () => {});
      hub.connection.close(BigInt(code), [...Buffer.from(reason)]);
      const end = await within(spoke.closed, 'the spoke ends');
      assert.deepEqual([end.code, end.reason], [code, reason]);
    }
  });

  test('it comes back after any other code, and subscribes again', async (t) => {
    const { hub, spoke, endpoint } = await atOfficialHub(t);
    const heard = listenTo(spoke, TOPIC);
    await hub.frames.reaches(1);
    const again = OfficialPeer.accept(endpoint);
    hub.connection.close(1012n, [...Buffer.from('restart')]);
    const next = await within(again, 'the spoke is back');
    await next.frames.reaches(1);
    await next.write(frame(JSON.stringify(envelope)));
    await heard.reaches(1);
    assert.deepEqual(heard.entries, [envelope]);
  });
});

/** Our spoke, and the official endpoint that is its hub. The stream is heard of with its first byte, so a topic is listened to at once. */
async function atOfficialHub(t) {
  const endpoint = await officialEndpoint(t, { alpns: [ALPN] });
  const accepted = OfficialPeer.accept(endpoint);
  const own = await makeEndpoint(t, { addresses: { [endpoint.id().toString()]: endpoint.boundSockets() } });
  const spoke = await within(
    createIrohSpokeEventTarget({ endpoint: own, hubNodeId: endpoint.id().toString(), reconnect: eager }),
    'the spoke is open',
  );
  t.after(() => spoke.close({ timeoutMs: 0 }));
  spoke.addEventListener(TOPIC, () => {});
  return { hub: await within(accepted, 'the official hub has the stream'), spoke, endpoint };
}
