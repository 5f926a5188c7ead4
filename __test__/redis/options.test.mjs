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
  for (const url of [null, 5, Object.create(null), ['redis://h'], {}, { href: 5 }, Symbol('redis://h')])
    refused({ url }, /url must be a redis:, rediss: or unix: URL/);
  refused({ url: 'redis://h', password: '' }, /password must be a non-empty string/);
  refused({ url: 'redis://h', password: 17 }, /^(?!.*17)/);
  refused({ url: 'redis://h', prefix: 5 }, /prefix must be a well-formed string/);
  refused({ url: 'redis://h', prefix: '\ud800' }, /prefix must be a well-formed string/);
  refused({ url: 'redis://h', clientName: 'two words' }, /clientName must be printable ASCII without spaces/);
  refused({ url: 'redis://h', peer: 'plain' }, /options has no "peer"/);
  refused({ url: 'redis://h', keyPrefix: 'x' }, /options has no "keyPrefix"/);
  refused({ url: 'redis://h', limits: { maxMalformed: 1 } }, /limits has no "maxMalformed"/);
});

test('what names several servers is checked', () => {
  refused({ nodes: [] }, /^nodes must be a list of at least one server, got an array$/);
  refused({ nodes: 'redis://h' }, /^nodes must be a list/);
  refused(
    { nodes: ['redis://h', 'http://me:secret@h'] },
    /^nodes\[1\] must be a redis: or rediss: URL, or \{ host, port \}$/,
  );
  refused({ nodes: ['unix:///run/redis.sock'] }, /^nodes\[0\] must be a redis: or rediss: URL/);
  refused({ nodes: [{ host: 'h', port: 0 }] }, /^nodes\[0\]\.port must be a positive integer up to 65535, got 0$/);
  refused({ nodes: [{ port: 1 }] }, /^nodes\[0\] must be/);
  refused({ nodes: [{ host: 'h', user: 'x' }] }, /^nodes\[0\] has no "user"/);
  refused({ nodes: ['redis://h', 'rediss://h'] }, /^nodes must all be redis: or all be rediss: URLs$/);
  refused({ nodes: ['redis://h'], sharded: 1 }, /^sharded must be a boolean, got 1$/);
  refused({ sentinels: ['redis://h'] }, /^serviceName must be the name of the master/);
  refused(
    { sentinels: ['redis://h'], serviceName: 's', sentinelPassword: '' },
    /^sentinelPassword must be a non-empty string/,
  );
  refused({ sentinels: ['redis://h'], serviceName: 's', url: 'redis://h' }, /^url and sentinels exclude each other$/);
  refused({ url: 'redis://h', sharded: true }, /^sharded goes with nodes$/);
  refused({ nodes: ['redis://h'], serviceName: 's' }, /^serviceName goes with sentinels$/);
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
