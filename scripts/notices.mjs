// The licences of everything that is linked into the addon: they ask to go where the binary goes. Reads what cargo resolves for a platform and the texts
// that the crates carry; each text is there once, with those that have it. Knows nothing of what is published.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { lockedInCI } from './project.mjs';
import { Failure, run } from './run.mjs';

/** Names of files with terms, or with notices that have to be kept. */
const terms = /^(LICEN[CS]E|COPYING|NOTICE|COPYRIGHT)([-_.].*)?$/i;

/** The text for one Rust target. */
export function noticesFor(target) {
  const crates = linked(target);
  const texts = new Map();
  for (const crate of crates)
    for (const text of textsOf(crate)) texts.set(text, [...(texts.get(text) ?? []), nameOf(crate)]);
  const list = crates.map((crate) => `- ${nameOf(crate)}: ${crate.license ?? 'see below'}`);
  const parts = [...texts].map(([text, names]) => `## ${names.join(', ')}\n\n\`\`\`text\n${text}\n\`\`\``);
  return `# What is linked into the addon\n\nBesides the code of this project and the standard library of Rust (MIT OR Apache-2.0), with the licence that each offers.\n\n${list.join('\n')}\n\n${parts.join('\n\n')}\n`;
}

const nameOf = ({ name, version }) => `${name} ${version}`;

/** The crates of others that end in the file: no build scripts, no macros, no tests, and of each the features that are on. */
function linked(target) {
  const common = ['--target', target, ...lockedInCI()];
  const tree = run(
    'cargo',
    ['tree', ...common, '--edges', 'normal,no-proc-macro', '--prefix', 'none', '--format', '{p}'],
    { capture: true },
  );
  const names = new Set([...tree.matchAll(/^(\S+) v(\S+)/gm)].map(([, name, version]) => `${name} ${version}`));
  const metadata = ['metadata', '--format-version=1', '--filter-platform', target, ...lockedInCI()];
  const { packages } = JSON.parse(run('cargo', metadata, { capture: true }));
  const found = packages.filter((crate) => crate.source !== null && names.has(nameOf(crate)));
  if (found.length === 0) throw new Failure(`cargo resolves nothing for ${target}`);
  return found.sort((a, b) => nameOf(a).localeCompare(nameOf(b), 'en'));
}

/** The texts that a crate carries; where MIT is offered, not those of Apache besides. Some carry none: their line in the list is all there is. */
function textsOf({ manifest_path: manifest }) {
  const folder = dirname(manifest);
  const files = readdirSync(folder, { withFileTypes: true }).filter(
    (entry) => entry.isFile() && terms.test(entry.name),
  );
  const hasMit = files.some(({ name }) => /MIT/i.test(name));
  const taken = files.filter(({ name }) => !(hasMit && /APACHE/i.test(name)));
  return taken.map(({ name }) => readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim());
}
