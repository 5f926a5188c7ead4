// Over TLS: whom the target trusts, and what it does when it must not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generate } from 'selfsigned';
import { pem } from '../servers/certificate.mjs';
import { listenTo, within } from '../websocket/facts.mjs';
import { makeTarget, publish, watch } from './facts.mjs';
import { withoutRedis } from './server.mjs';
import { startTls } from './tls-server.mjs';

test('rediss: with the right authority events travel; with another, or by another name, it is the end', async (t) => {
  if (withoutRedis) return t.skip(withoutRedis);
  const { plain, url } = await startTls(t);
  const trusting = makeTarget(t, plain, { url, tls: { ca: pem.cert } });
  const heard = listenTo(trusting, 'a:');
  await trusting.ready('a:');
  publish(trusting, 'a', '', 'x'.repeat(100_000));
  await heard.reaches(1);
  for (const tls of [{}, { ca: pem.cert, serverName: 'other.example' }]) {
    const target = makeTarget(t, plain, { url, tls });
    const { all } = watch(target);
    const { error } = await within(target.closed, 'the end');
    assert.equal(error.code, 'ERR_TLS');
    assert.deepEqual(all('reconnecting'), []);
  }
  const careless = makeTarget(t, plain, { url, tls: { insecure: true } });
  await careless.ready();
});

test('a server that asks for a client certificate gets it; without one, or with one it does not trust, it is the end', async (t) => {
  if (withoutRedis) return t.skip(withoutRedis);
  const { plain, url } = await startTls(t, 'yes');
  const { cert, key } = pem;
  const trusted = makeTarget(t, plain, { url, tls: { ca: cert, cert, key } });
  const heard = listenTo(trusted, 'a:');
  await trusted.ready('a:');
  publish(trusted, 'a', '', 1);
  await heard.reaches(1);
  const other = await generate([{ name: 'commonName', value: 'stranger' }], { keySize: 2048, algorithm: 'sha256' });
  for (const tls of [{ ca: cert }, { ca: cert, cert: other.cert, key: other.private }]) {
    const target = makeTarget(t, plain, { url, tls });
    const { all } = watch(target);
    const { error } = await within(target.closed, 'the end');
    assert.equal(error.code, 'ERR_TLS');
    assert.deepEqual(all('reconnecting'), []);
  }
});
