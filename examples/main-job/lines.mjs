// Cuts text into lines, as `wc -l` and `cat` see them: at \n only, and a last line without one counts.

/** Above what a hub takes as one message under any setting (64 MiB). */
const maxLineLength = 64 * 1024 * 1024;

/** Lines, a chunk of the stream at a time: one promise per chunk and not per line. */
export async function* lineBatches(stream) {
  stream.setEncoding('utf8');
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    if (rest.length > maxLineLength) throw new Error(`is longer than ${maxLineLength} characters`);
    yield lines;
  }
  if (rest !== '') yield [rest];
}
