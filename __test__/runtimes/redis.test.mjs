// The Redis target of the same package in every runtime. Deno's one permission: the addon opens the sockets.
import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { startRedis, withoutRedis } from '../redis/server.mjs';
import { install } from './installed.mjs';
import { inEachRuntime } from './runtimes.mjs';

let installed;

before(() => {
  installed = install([new URL('redis.mjs', import.meta.url)]);
});

after(() => installed.remove());

inEachRuntime('Redis', ['--allow-ffi'], async (start, t) => {
  if (withoutRedis) return t.skip(withoutRedis);
  const server = await startRedis(t);
  const { code, stdout, stderr } = await start(['redis.mjs', server.url], installed.folder);
  assert.equal(code, 0, `${stdout}${stderr}`);
  const greeting = { type: 'greeting', id: 'all', payload: { text: 'gr\u00fc\u00df dich \u{1f600}', big: 2 ** 53 } };
  assert.deepEqual(JSON.parse(stdout), { heard: [greeting, greeting], states: ['closed', 'closed'] });
});
