// A reporter for node --test that writes one JSON object a line for each test that is no suite: { file, name, result }, and why it failed to
// standard error. Works alike in every version of Node.js.

// biome-ignore lint/style/noDefaultExport: what node --test asks of a reporter
export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const { file, name, skip, details } = data;
    // A suite fails with its tests, which are told of; by itself only when it could not run them.
    if (details?.type === 'suite' && (type === 'test:pass' || details.error?.failureType === 'subtestsFailed'))
      continue;
    const result = type === 'test:fail' ? 'failed' : skip === undefined ? 'passed' : 'skipped';
    if (result === 'failed')
      process.stderr.write(`${file}: ${name}: ${details?.error?.cause?.stack ?? details?.error}\n`);
    yield `${JSON.stringify({ file, name, result })}\n`;
  }
}
