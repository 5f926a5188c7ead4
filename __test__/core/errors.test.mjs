// The shape of errors: style.md point 6.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCodes, GapError, PubSubError, SlowConsumerError } from '../../dist/index.js';

test('an error has its code, its cause and a name of its class', () => {
  const cause = new Error('below');
  const error = new PubSubError('ERR_CLOSED', 'gone', { cause, dropped: 3 });
  assert(error instanceof Error);
  assert.deepEqual(
    [error.name, error.code, error.message, error.cause, error.dropped],
    ['PubSubError', 'ERR_CLOSED', 'gone', cause, 3],
  );
  assert(!('cause' in new PubSubError('ERR_CLOSED', 'gone')));
});

test('subclasses carry the code of their kind', () => {
  const slow = new SlowConsumerError('a:b', 5);
  const gap = new GapError('a:b', { cause: 'connection-lost' });
  assert(slow instanceof PubSubError && gap instanceof PubSubError);
  assert.deepEqual([slow.code, slow.name], ['ERR_SLOW_CONSUMER', 'SlowConsumerError']);
  assert.deepEqual([gap.code, gap.name, gap.gap.cause], ['ERR_GAP', 'GapError', 'connection-lost']);
});

test('every code begins with ERR_ and says what it means', () => {
  for (const [code, meaning] of Object.entries(errorCodes)) {
    assert.match(code, /^ERR_[A-Z_]+$/);
    assert.notEqual(meaning, '');
  }
});
