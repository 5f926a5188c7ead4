// Splits a stream into lines. Does not interpret them. Invariant: no line grows past its bound, and nothing is read ahead of who takes lines but
// what the stream itself holds.

import { CliFailure, exitCodes } from './failure.js';

/** The longest line, in bytes. Reason: no hub takes larger messages than 64 MiB, and most take 1 MiB. */
export const MAX_LINE_BYTES = 64 * 1024 * 1024;

/** The lines of UTF-8 text, without their ends (`\n` or `\r\n`); the last one needs none. Whatever is no UTF-8 ends them with a failure. */
export async function* readLines(input: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let size = 0;
  let number = 0;
  const take = (last: Buffer): string => {
    const line = Buffer.concat([...parts, last]);
    parts = [];
    size = 0;
    number++;
    return decode(line.subarray(0, line.at(-1) === 0x0d ? line.length - 1 : line.length), number);
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
      throw new CliFailure(
        exitCodes.failed,
        'ERR_MESSAGE_TOO_LARGE',
        `line ${number + 1} has more than ${MAX_LINE_BYTES} bytes`,
      );
    if (rest.length > 0) parts.push(rest);
  }
  if (size > 0) yield take(Buffer.alloc(0));
}

/** Without the byte order mark that a text may begin with. */
const first = new TextDecoder('utf-8', { fatal: true });
const others = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decode(line: Buffer, number: number): string {
  try {
    return (number === 1 ? first : others).decode(line);
  } catch {
    const remedy = 'Convert it first (iconv), or send bytes as base64.';
    throw new CliFailure(exitCodes.failed, 'ERR_MALFORMED', `line ${number} is no UTF-8\n${remedy}`);
  }
}
