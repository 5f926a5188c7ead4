// `node:assert/strict` as far as the conformance suite uses it, for pages. assert.test.mjs compares it with the real one.

class AssertionError extends Error {
  name = 'AssertionError';
}

function assert(value, message = 'the value is falsy') {
  if (!value) throw new AssertionError(message);
}

assert.fail = (message) => assert(false, message);

assert.equal = (actual, expected, message) =>
  assert(Object.is(actual, expected), message ?? `expected ${show(expected)}, got ${show(actual)}`);

assert.deepEqual = (actual, expected) =>
  assert(isDeepEqual(actual, expected), `expected ${show(expected)}, got ${show(actual)}`);

assert.throws = (act, expected) => {
  let error;
  try {
    act();
  } catch (thrown) {
    error = thrown;
  }
  match(error, expected);
};

assert.rejects = async (promise, expected) =>
  match(
    await promise.then(
      () => undefined,
      (reason) => reason,
    ),
    expected,
  );

function match(error, expected) {
  assert(error !== undefined, 'nothing was thrown');
  for (const [key, value] of Object.entries(expected)) assert.deepEqual(error[key], value);
}

function isDeepEqual(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  return keys.length === others.length && keys.every((key) => Object.hasOwn(b, key) && isDeepEqual(a[key], b[key]));
}

function show(value) {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

// biome-ignore lint/style/noDefaultExport: as node:assert/strict has it
export default assert;
