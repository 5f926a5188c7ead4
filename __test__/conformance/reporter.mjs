// A reporter for node --test that writes what the conformance suites showed, one JSON object a line: { suite, sentence, passed, why }.
// Names of suites without their "conformance of ". A suite that was skipped is one line without a sentence.

const PREFIX = 'conformance of ';

// biome-ignore lint/style/noDefaultExport: what node --test asks of a reporter
export default async function* report(events) {
  let cases = [];
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const { name, nesting, skip, details } = data;
    const passed = type === 'test:pass';
    const why = passed ? undefined : String(details?.error?.cause?.message ?? details?.error?.message ?? 'failed');
    if (nesting > 0) {
      if (nesting === 1) cases.push({ sentence: name, passed, why });
      continue;
    }
    const own = cases;
    cases = [];
    if (!name.startsWith(PREFIX)) {
      if (!passed) yield `${JSON.stringify({ suite: name, passed, why })}\n`;
      continue;
    }
    const suite = name.slice(PREFIX.length);
    if (skip !== undefined) yield `${JSON.stringify({ suite, passed: false, why: `skipped: ${skip}` })}\n`;
    else if (own.length === 0) yield `${JSON.stringify({ suite, passed, why: why ?? 'no case ran' })}\n`;
    for (const one of own) yield `${JSON.stringify({ suite, ...one })}\n`;
  }
}
