// Splits a stream into lines. Does not interpret them. Invariant: no line grows past its bound, and nothing is read ahead of who takes lines but
// what the stream itself holds.

import { CliFailure, exitCodes } from './failure.js';

/** The longest line, in bytes. Reason: no hub takes larger messages than 64 MiB, and most take 1 MiB. */
export const MAX_LINE_BYTES = 64 * 1024 * 1024;

/** The lines of UTF-8 text, without their ends (`\n` or `\r\n`); the last one needs none. */
export async function* readLines(input: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let size = 0;
  const take = (last: Buffer): string => {
    const line = Buffer.concat([...parts, last]);
    parts = [];
    size = 0;
    return line.toString('utf8', 0, line.at(-1) === 0x0d ? line.length - 1 : line.length);
  };
  for await (const chunk of input) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      const line = take(bytes.subarray(start, end));
      start = end + 1;
      yield line;
      if (signal.aborted) return;
    }
    const rest = bytes.subarray(start);
    size += rest.length;
    if (size > MAX_LINE_BYTES)
      throw new CliFailure(exitCodes.failed, 'ERR_MESSAGE_TOO_LARGE', `a line has more than ${MAX_LINE_BYTES} bytes`);
    if (rest.length > 0) parts.push(rest);
  }
  if (size > 0) yield take(Buffer.alloc(0));
}
