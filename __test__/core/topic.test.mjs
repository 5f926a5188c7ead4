// Topics, createEvent and what is refused: contract sections 1 and 2.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEvent, PubSubError, topic } from '../../dist/index.js';
import { checkEvent, checkName } from '../../dist/topic.js';

const invalid = { name: 'TypeError', code: 'ERR_INVALID_TOPIC' };

test('a topic is type and id joined by a colon; both may hold colons, the id may be empty', () => {
  assert.equal(topic('chat.msg', 'r1'), 'chat.msg:r1');
  assert.equal(topic('a', 'b:c'), topic('a:b', 'c'));
  assert.equal(topic('chat', ''), 'chat:');
});

test('an event carries its envelope under the name of its topic', () => {
  const event = createEvent('chat.msg', 'r1', { n: 1 });
  assert(event instanceof CustomEvent);
  assert.equal(event.type, 'chat.msg:r1');
  assert.deepEqual(event.detail, { type: 'chat.msg', id: 'r1', payload: { n: 1 } });
});

test('an empty type, a type or id that is no string, and half a surrogate pair are no topics', () => {
  assert.throws(() => topic('', 'r1'), invalid);
  assert.throws(() => topic(undefined, 'r1'), invalid);
  assert.throws(() => topic('chat', 5), invalid);
  assert.throws(() => topic('chat', Symbol('id')), invalid);
  assert.throws(() => createEvent('chat', '\ud800', 1), invalid);
  assert.equal(topic('chat', '\ud83d\ude00'), 'chat:😀');
});

test('types that begin with two underscores are reserved', () => {
  assert.throws(() => createEvent('__subscribe', '', {}), { name: 'PubSubError', code: 'ERR_RESERVED_TYPE' });
  assert.equal(topic('_private', '1'), '_private:1');
});

test('a name without a colon is told how a topic is written', () => {
  const message = 'expected "type:id", got "chat"; for an empty id write "chat:"';
  assert.throws(() => checkName('chat'), { ...invalid, message });
  assert.throws(() => checkEvent('chat', undefined), { ...invalid, message });
  assert.throws(() => checkName(':id'), invalid);
});

test('life-cycle names can be listened to without a colon', () => {
  for (const name of ['open', 'close', 'error', 'gap', 'reconnecting', 'connection', 'disconnection', 'backpressure'])
    checkName(name);
});

test('an event whose name is not the topic of its envelope is a mismatch', () => {
  const mismatch = { code: 'ERR_TOPIC_MISMATCH' };
  assert.throws(() => checkEvent('a:b', { type: 'a', id: 'c', payload: 1 }), mismatch);
  assert.throws(() => checkEvent('a:b', { n: 1 }), mismatch);
  assert.throws(() => checkEvent('a:b', null), mismatch);
  assert.throws(() => checkEvent('a:5', { type: 'a', id: 5 }), mismatch);
  assert.throws(
    () => checkEvent('__hello:', { type: '__hello', id: '' }),
    (error) => error instanceof PubSubError,
  );
  checkEvent('a:b:c', { type: 'a', id: 'b:c', payload: 1 });
  checkEvent('a:b:c', { type: 'a:b', id: 'c', payload: 1 });
});
