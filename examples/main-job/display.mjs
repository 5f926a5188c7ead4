// What the main job shows: the live line on a terminal, the lines of the subscribers, the summary. Knows nothing of processes.

const clearLine = '\r\u001b[K';

export class Display {
  #live = process.stderr.isTTY === true;
  #isShown = false;

  /** Prints lines above the live line. Returns false when the output wants a pause; `onDrain` is called after it. */
  print(text, onDrain) {
    this.clear();
    const hasRoom = process.stdout.write(text);
    if (!hasRoom) process.stdout.once('drain', onDrain);
    return hasRoom;
  }

  /** Shows the live line again. */
  live(job) {
    if (!this.#live) return;
    const line = [
      `${job.received} events`,
      `${job.ratePerSecond()} events/s`,
      `p50 ${milliseconds(job.latency.percentile(0.5))}`,
      `p99 ${milliseconds(job.latency.percentile(0.99))}`,
      `gaps ${job.gaps}`,
      `drops ${job.drops}`,
    ].join('  ');
    process.stderr.write(clearLine + line.slice(0, (process.stderr.columns || 80) - 1));
    this.#isShown = true;
  }

  clear() {
    if (this.#isShown) process.stderr.write(clearLine);
    this.#isShown = false;
  }
}

/** The summary, in plain digits. */
export function summary(job) {
  const rows = [
    ['lines read', job.lines],
    ['events sent', job.sent],
    ...job.subscribers.map(({ name, received }) => [`received by ${name}`, received]),
    ['gaps', job.gaps],
    ['drops', job.drops],
    ['latency', `p50 ${milliseconds(job.latency.percentile(0.5))}, p99 ${milliseconds(job.latency.percentile(0.99))}`],
    ['rate', `${job.averageRate()} events/s received, ${(job.elapsedMs() / 1000).toFixed(2)} s`],
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  return `${rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`).join('\n')}\n`;
}

const milliseconds = (value) => (value === undefined ? '-' : `${value.toFixed(value < 10 ? 2 : 0)} ms`);
