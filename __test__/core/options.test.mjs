// Options are checked where they are given; contract and style.md point 13.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readLimits } from '../../dist/limits.js';
import {
  abortSignal,
  boolean,
  checkNames,
  given,
  oneOf,
  positiveInteger,
  string,
  strings,
} from '../../dist/options.js';
import { pemText } from '../../dist/pem.js';

const refused = (act, message) => assert.throws(act, { name: 'TypeError', code: 'ERR_INVALID_OPTION', message });

test('a wrong value is told with its name, what was expected and what came', () => {
  refused(() => positiveInteger('heartbeatMs', -5), 'heartbeatMs must be a positive integer, got -5');
  for (const value of [0, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '5', null, 2 ** 53])
    assert.throws(() => positiveInteger('x', value), /x must be/);
  refused(() => boolean('relay', 'yes'), 'relay must be a boolean, got "yes"');
  refused(() => string('host', ''), 'host must be a non-empty string, got ""');
  refused(() => strings('protocols', ['a', 5]), 'protocols must be an array of strings, got an array');
  refused(() => oneOf('peer', 'other', ['auto', 'plain']), 'peer must be one of "auto", "plain", got "other"');
  refused(() => abortSignal('signal', {}), 'signal must be an AbortSignal, got an object');
  refused(() => readLimits({ heartbeatMs: -5 }), 'heartbeatMs must be a positive integer, got -5');
});

test('a long string is not repeated: it may be a key', () => {
  refused(() => boolean('x', 'k'.repeat(100)), 'x must be a boolean, got a string of 100 characters');
});

test('an unknown name is refused, so that a misspelt one is not ignored', () => {
  refused(() => checkNames({ authorise: 1 }, ['listen']), 'options has no "authorise"; known are listen');
  refused(() => checkNames(null, []), 'options must be an object, got null');
});

test('what is left out stays out', () => {
  assert.deepEqual(given({ a: undefined, b: false, c: 0 }), { b: false, c: 0 });
});

test('PEM comes as text, as bytes or from a file', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pem-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
  writeFileSync(join(folder, 'cert.pem'), pem);
  writeFileSync(join(folder, 'other'), 'secret text');
  for (const value of [pem, Buffer.from(pem), join(folder, 'cert.pem')]) assert.equal(pemText('tls.cert', value), pem);
  assert.throws(() => pemText('tls.cert', join(folder, 'missing')), {
    code: 'ERR_INVALID_OPTION',
    message: /tls\.cert .*ENOENT/,
  });
  assert.throws(
    () => pemText('tls.key', join(folder, 'other')),
    ({ message }) => /tls\.key/.test(message) && !message.includes('secret'),
  );
  assert.throws(() => pemText('tls.key', 5), TypeError);
});
