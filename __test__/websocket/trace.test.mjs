// What the engine tells of itself when the environment asks: enough to see what happens, and nothing that is anybody's secret.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const program = `
  import { createEvent } from '@alkdev/pubsub-native';
  import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
  import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
  const hub = createWebSocketServerEventTarget({ listen: { port: 0 }, authorize: { connect: () => ({ subscribe: ['a:*'] }) } });
  await hub.ready();
  const headers = { authorization: 'Bearer s3cret-header' };
  const spoke = createWebSocketClientEventTarget(hub.address.url + 'x?token=s3cret-query', { headers });
  spoke.addEventListener('error', () => {});
  spoke.addEventListener('a:1', () => {});
  spoke.addEventListener('b:1', () => {});
  await spoke.ready('a:1');
  hub.dispatchEvent(createEvent('a', '1', 's3cret-payload'));
  spoke.dispatchEvent(createEvent('b', '1', 's3cret-payload'));
  await spoke.ready('b:1').catch(() => {});
  await spoke.close();
  await hub.close();
`;

/** What the program writes to standard error. */
function told(environment) {
  const { ALKPUBSUB_LOG: _, NODE_DEBUG: __, ...rest } = process.env;
  const options = { cwd: new URL('../..', import.meta.url), encoding: 'utf8', env: { ...rest, ...environment } };
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], options);
  assert.equal(status, 0, stderr);
  return stderr;
}

test('nothing is told unasked', () => {
  assert.equal(told({}), '');
});

for (const environment of [{ ALKPUBSUB_LOG: 'trace' }, { NODE_DEBUG: 'http, alkpubsub' }]) {
  test(`${JSON.stringify(environment)}: connections, refusals and their ends, and no secret`, () => {
    const text = told(environment);
    for (const word of [
      'connected',
      'native',
      'subscription refused',
      'publication refused',
      'gone',
      'dialing',
      'open',
    ])
      assert.match(text, new RegExp(`alkpubsub::\\w+: ${word}`), word);
    assert.doesNotMatch(text, /s3cret/);
  });
}

test('a filter chooses, and one that cannot be read is told of', () => {
  const text = told({ ALKPUBSUB_LOG: 'off,alkpubsub::spoke=info' });
  assert.match(text, /alkpubsub::spoke: open/);
  assert.doesNotMatch(text, /alkpubsub::hub/);
  assert.match(told({ ALKPUBSUB_LOG: 'alkpubsub=loud' }), /ALKPUBSUB_LOG is no filter/);
});
