// A hub with a certificate.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { pem } from '../servers/certificate.mjs';
import { BareClient } from './bare-peers.mjs';
import { listenTo, next, within } from './facts.mjs';
import { makeHub, makeOpenSpoke, makeSpoke } from './targets.mjs';

describe('tls', () => {
  test('a hub with a certificate serves bare clients and spokes that trust it', async (t) => {
    const hub = await makeHub(t, { tls: pem });
    assert.match(hub.address.url, /^wss:/);
    const heard = listenTo(hub, 'p:1');
    const bare = await BareClient.to(t, hub, { ca: pem.cert });
    await bare.subscribe(hub, 'q:1');
    const spoke = await makeOpenSpoke(t, hub, { tls: { ca: pem.cert } });
    const large = 'x'.repeat(200_000);
    bare.publish('p', '1', large);
    spoke.dispatchEvent(createEvent('p', '1', large));
    await heard.reaches(2);
    for (let n = 0; n < 20; n++) hub.dispatchEvent(createEvent('q', '1', { n, large }));
    await bare.frames.reaches(20);
    assert.deepEqual(
      bare.envelopes.map(({ payload }) => payload.n),
      Array.from({ length: 20 }, (_, n) => n),
    );
    const gone = next(hub, 'disconnection');
    bare.ws.close(4000, 'bye');
    assert.deepEqual([(await gone).code, (await within(bare.closed, 'the close')).code], [4000, 4000]);
  });

  test('certificate and key may be text, bytes or files', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'tls-'));
    t.after(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'cert.pem'), pem.cert);
    writeFileSync(join(folder, 'key.pem'), pem.key);
    const asFile = { cert: join(folder, 'cert.pem'), key: join(folder, 'key.pem') };
    const asBytes = { cert: Buffer.from(pem.cert), key: new TextEncoder().encode(pem.key) };
    for (const [tls, ca] of [
      [asFile, asBytes.cert],
      [asBytes, asFile.cert],
    ]) {
      const hub = await makeHub(t, { tls });
      await makeOpenSpoke(t, hub, { tls: { ca } });
    }
  });

  test('a spoke that does not trust the certificate is over, unless it says insecure', async (t) => {
    const hub = await makeHub(t, { tls: pem });
    const distrusting = makeSpoke(t, hub);
    distrusting.addEventListener('error', () => {});
    await assert.rejects(within(distrusting.ready(), 'a rejection'), { code: 'ERR_TLS' });
    assert.equal((await distrusting.closed).error.code, 'ERR_TLS');
    await makeOpenSpoke(t, hub, { tls: { insecure: true } });
    const misled = makeSpoke(t, hub, { tls: { ca: pem.cert, serverName: 'elsewhere.example' } });
    misled.addEventListener('error', () => {});
    await assert.rejects(within(misled.ready(), 'a rejection'), { code: 'ERR_TLS' });
  });

  test('a client that speaks plainly to a TLS hub harms nobody', async (t) => {
    const hub = await makeHub(t, { tls: pem });
    hub.addEventListener('error', () => {});
    const bare = new BareClient(hub.address.url.replace('wss:', 'ws:'));
    await within(bare.closed, 'the end of the plain client');
    await makeOpenSpoke(t, hub, { tls: { ca: pem.cert } });
  });

  test('with requestCert only clients with a certificate of the authority are served', async (t) => {
    const hub = await makeHub(t, { tls: { ...pem, ca: pem.cert, requestCert: true } });
    hub.addEventListener('error', () => {});
    const without = new BareClient(hub.address.url, { ca: pem.cert });
    await within(without.closed, 'the refusal');
    assert.equal(hub.stats().accepted, 0);
    await BareClient.to(t, hub, { ca: pem.cert, cert: pem.cert, key: pem.key });
    await makeOpenSpoke(t, hub, { tls: { ca: pem.cert, ...pem } });
  });

  test('what is no certificate is refused at once or as a rejection', async () => {
    assert.throws(() => createWebSocketServerEventTarget({ listen: { port: 0 }, tls: { cert: pem.cert } }), {
      code: 'ERR_INVALID_OPTION',
    });
    assert.throws(
      () => createWebSocketServerEventTarget({ listen: { port: 0 }, tls: { cert: '/no/such', key: pem.key } }),
      {
        code: 'ERR_INVALID_OPTION',
      },
    );
    const swapped = createWebSocketServerEventTarget({ listen: { port: 0 }, tls: { cert: pem.key, key: pem.cert } });
    swapped.addEventListener('error', () => {});
    await assert.rejects(within(swapped.ready(), 'a rejection'), ({ code }) =>
      ['ERR_TLS', 'ERR_INVALID_OPTION'].includes(code),
    );
  });
});
