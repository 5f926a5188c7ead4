// Targets that were closed leave nothing behind: neither they nor what the addon holds for them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createEvent } from '@alkdev/pubsub-native';
import { createProcessEventTarget } from '@alkdev/pubsub-native/event-target-process';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';
import { createWebSocketServerEventTarget } from '@alkdev/pubsub-native/event-target-websocket-server';
import { eventually } from '../websocket/facts.mjs';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

/** Makes and closes so many; what is left of them is only known by weak references. */
async function closed(count, make) {
  const targets = [];
  for (let n = 0; n < count; n++) {
    const target = await make(n);
    target.addEventListener('a:b', () => {});
    target.dispatchEvent(createEvent('a', 'b', n));
    await target.close();
    targets.push(new WeakRef(target));
  }
  return targets;
}

for (const [name, make] of [
  ['members of a process bus', async () => () => createProcessEventTarget('collected')],
  [
    'spokes',
    async (t) => {
      const hub = createWebSocketServerEventTarget({ listen: { port: 0 } });
      t.after(() => hub.close());
      await hub.ready();
      return async () => {
        const spoke = createWebSocketClientEventTarget(hub.address.url, {});
        await spoke.ready();
        return spoke;
      };
    },
  ],
]) {
  test(`${name} are collected once they are closed`, async (t) => {
    const targets = await closed(20, await make(t));
    await eventually(() => {
      collect();
      // The last ones may still stand in a frame of this function.
      return targets.filter((target) => target.deref() !== undefined).length <= 2;
    }, 'they are collected');
    assert(targets.length === 20);
  });
}
