// What is wrong with options is said at once, and no password is ever shown.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Redis from 'ioredis';
import { createRedisEventTarget } from '../../dist/event-target-redis.js';

const refused = (options, message) =>
  assert.throws(() => createRedisEventTarget(options), { name: 'TypeError', code: 'ERR_INVALID_OPTION', message });

test('a client of ioredis among the options shows the same call with `url`', () => {
  const client = new Redis({ lazyConnect: true, host: 'db.example', port: 6390, db: 2, password: 'secret' });
  const url = 'redis://:<password>@db.example:6390/2';
  const call = `write createRedisEventTarget({ url: "${url}", prefix: "app:" })`;
  for (const options of [{ redis: client }, { publishClient: client, subscribeClient: client }])
    refused({ ...options, prefix: 'app:' }, new RegExp(`^the client "(redis|publishClient)" .*${escaped(call)}$`));
  refused(client, new RegExp(escaped(`createRedisEventTarget({ url: "${url}" })`)));
  const local = new Redis({ lazyConnect: true, path: '/run/redis.sock' });
  refused({ redis: local }, /url: "unix:\/\/\/run\/redis.sock"/);
});

test('a client of node-redis as well', async () => {
  const { createClient } = await import('redis');
  const client = createClient({ url: 'redis://me:secret@db.example' });
  refused({ client }, /url: "redis:\/\/<user>:<password>@db\.example"/);
});

test('other URLs, wrong values and unknown names are refused, and passwords not repeated', () => {
  refused({}, /url must be a redis:, rediss: or unix: URL/);
  refused({ url: 'http://me:secret@host' }, /^(?!.*secret)/);
  refused({ url: 'redis://h', password: '' }, /password must be a non-empty string/);
  refused({ url: 'redis://h', password: 17 }, /^(?!.*17)/);
  refused({ url: 'redis://h', prefix: 5 }, /prefix must be a well-formed string/);
  refused({ url: 'redis://h', prefix: '\ud800' }, /prefix must be a well-formed string/);
  refused({ url: 'redis://h', clientName: 'two words' }, /clientName must be printable ASCII without spaces/);
  refused({ url: 'redis://h', peer: 'plain' }, /options has no "peer"/);
  refused({ url: 'redis://h', keyPrefix: 'x' }, /options has no "keyPrefix"/);
  refused({ url: 'redis://h', limits: { maxMalformed: 1 } }, /limits has no "maxMalformed"/);
});

test('several servers are not supported yet', () => {
  refused({ nodes: [] }, /^nodes is not supported yet; give the url of one server$/);
  refused({ sentinels: [], name: 'x' }, /^sentinels is not supported yet/);
});

test('a URL of a server that cannot be is the end at once', async () => {
  for (const url of ['redis://host/database', 'redis://0.0.0.0']) {
    const target = createRedisEventTarget({ url });
    target.addEventListener('error', () => {});
    await assert.rejects(target.ready(), { code: 'ERR_INVALID_OPTION' });
    assert.equal((await target.closed).error.code, 'ERR_INVALID_OPTION');
  }
});

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
