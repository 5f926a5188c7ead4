// Repeatable randomness for tests: the seed is printed, and SEED=<number> runs the same again.

/** A seed for a test, printed by its name. */
export function seedFor(context) {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
  context.diagnostic(`SEED=${seed}`);
  return seed;
}

/** mulberry32: small, and good enough to choose test steps. Returns a function of an exclusive upper bound. */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % bound;
  };
}
