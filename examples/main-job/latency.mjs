// Counts latencies in buckets that grow by a tenth: percentiles of millions of values in 3 KB, exact to 5 %.

const bucketsPerDoubling = 8;
const bucketCount = 40 * bucketsPerDoubling;

export class LatencyHistogram {
  #counts = new Uint32Array(bucketCount);

  add(ms) {
    const bucket = Math.round(Math.log2(Math.max(ms * 1000, 1)) * bucketsPerDoubling);
    this.#counts[Math.min(bucket, bucketCount - 1)] += 1;
  }

  /** Adds what another histogram's `takeCounts` gave. */
  merge(counts) {
    for (const [bucket, count] of counts) this.#counts[bucket] += count;
  }

  /** [bucket, count] of what came since the last call. */
  takeCounts() {
    const counts = [...this.#counts.entries()].filter(([, count]) => count > 0);
    this.#counts.fill(0);
    return counts;
  }

  /** Milliseconds that `fraction` of all values do not exceed; `undefined` without values. */
  percentile(fraction) {
    const total = this.#counts.reduce((sum, count) => sum + count, 0);
    let rest = Math.max(1, Math.ceil(total * fraction));
    for (const [bucket, count] of this.#counts.entries()) {
      rest -= count;
      if (rest <= 0 && count > 0) return 2 ** (bucket / bucketsPerDoubling) / 1000;
    }
    return undefined;
  }
}
