// Clocks and medians. Does not know what is measured.

import { readdirSync, readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

const mainThread = `/proc/self/task/${process.pid}/schedstat`;

/** Nanoseconds that the JavaScript thread has spent on a processor; what other threads do does not count. Linux only. */
export function threadCpuNs() {
  return Number(readFileSync(mainThread, 'utf8').split(' ')[0]);
}

/** Runs `work` and returns processor time of this thread and wall time, both in nanoseconds. */
export async function measured(work) {
  const [cpu, wall] = [threadCpuNs(), performance.now()];
  await work();
  return { cpuNs: threadCpuNs() - cpu, wallNs: (performance.now() - wall) * 1e6 };
}

/** Resident memory of a process and its peak, in bytes. Linux only. */
export function memoryOf(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)[1]) * 1024;
  return { resident: bytes('VmRSS'), peak: bytes('VmHWM') };
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Median, smallest and largest, rounded for reading. */
export function spread(values, digits = 0) {
  const round = (value) => value.toFixed(digits);
  return `${round(median(values))} (${round(Math.min(...values))}–${round(Math.max(...values))})`;
}

/** Rows of equal keys as a table that Markdown and people read. */
export function table(rows) {
  const names = Object.keys(rows[0]);
  const widths = names.map((name) => Math.max(name.length, ...rows.map((row) => String(row[name]).length)));
  const line = (cells) => `| ${cells.map((cell, i) => String(cell).padEnd(widths[i])).join(' | ')} |`;
  const rule = line(widths.map((width) => '-'.repeat(width)));
  return [line(names), rule, ...rows.map((row) => line(names.map((name) => row[name])))].join('\n');
}

/**
 * Nanoseconds that a process and its main thread, which runs JavaScript in all runtimes here, have spent on a processor: what /proc/…/stat has as
 * utime and stime, finer than its ticks. Threads that have ended do not count. Linux only.
 */
export function processorOf(pid) {
  const spent = (thread) => Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  let process = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) process += spent(thread);
  return { process, mainThread: spent(pid) };
}
