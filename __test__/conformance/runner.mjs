// Runs conformance cases where there is no node:test: in pages, in Bun and Deno. Does not know any target.

/** A test that waits longer hangs. Generous, for debug builds on busy machines. */
export const TIMEOUT_MS = 60_000;

/** One case over a pair of its own, which is closed whatever comes of it. */
export async function checkPair(makePair, check) {
  const pair = await makePair();
  try {
    await Promise.all([pair.a.ready(), pair.b.ready()]);
    await check(pair);
  } finally {
    await pair.close();
  }
}

/** Runs one case after the other; the results have an `error` where one failed. */
export async function runCases(cases, makePair) {
  const results = [];
  for (const [sentence, check] of cases) {
    const start = performance.now();
    const error = await within(TIMEOUT_MS, checkPair(makePair, check)).then(
      () => undefined,
      (reason) => String(reason?.stack ?? reason),
    );
    results.push({ sentence, error, ms: Math.round(performance.now() - start) });
  }
  return results;
}

async function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms);
  });
  try {
    await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
