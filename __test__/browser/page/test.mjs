// `node:test` as far as the conformance suite uses it, for pages: registers, then runs one test after the other.

const registered = [];
let currentSuite = '';

export function suite(name, _options, register) {
  currentSuite = name;
  register();
}

export function test(name, options, check) {
  registered.push({ suite: currentSuite, name, timeout: options.timeout, check });
}

/** Runs everything but the test of the name `leftOut`; the results are `{ suite, name, error, ms }`, without `error` where it passed. */
export async function runAll(leftOut) {
  const results = [];
  if (!registered.some(({ name }) => name === leftOut)) throw new Error(`there is no test "${leftOut}"`);
  for (const { suite, name, timeout, check } of registered.filter(({ name }) => name !== leftOut)) {
    const start = performance.now();
    const error = await within(timeout, check).then(
      () => undefined,
      (reason) => String(reason?.stack ?? reason),
    );
    results.push({ suite, name, error, ms: Math.round(performance.now() - start) });
  }
  return results;
}

async function within(ms, check) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms);
  });
  try {
    await Promise.race([check(), late]);
  } finally {
    clearTimeout(timer);
  }
}
