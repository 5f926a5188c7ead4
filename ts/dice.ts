// Repeatable randomness for tests: the same seed rolls the same numbers. Not for keys, masks or back-off.

/** A function that gives numbers from 0 up to 1: mulberry32, small and good enough to roll delays. */
export function diceFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
