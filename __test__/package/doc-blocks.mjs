// The code blocks of README and docs/: where they stand, what they print, and why one is not run or not checked. Runs nothing.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A mark stands in the line before a block: `<!-- not run: why -->`, `<!-- not checked: why -->`. */
const block =
  /((?:^<!-- not (?:run|checked): [^\n]+ -->\n)*)^```(js|ts)\n([\s\S]*?)^```\n(?:\nOutput:\n\n```text\n([\s\S]*?)```)?/gm;

/** README and the pages of docs/, without the records of decisions and what is generated. */
export function pages() {
  const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md') && name !== 'api.md');
  return ['README.md', ...docs.sort().map((name) => `docs/${name}`)];
}

/** `{ page, line, language, code, output, notRun, notChecked }` of each block of a page. */
export function blocksOf(page) {
  const text = readFileSync(join(root, page), 'utf8').replaceAll('\r\n', '\n');
  return [...text.matchAll(block)].map(({ 1: marks, 2: language, 3: code, 4: output, index }) => ({
    ...{ page, language, code, output },
    line: text.slice(0, index + marks.length).split('\n').length,
    notRun: /not run: (.+) -->/.exec(marks)?.[1],
    notChecked: /not checked: (.+) -->/.exec(marks)?.[1],
  }));
}

/** How many blocks of code a page has, however they are written. */
export function fencesOf(page) {
  const text = readFileSync(join(root, page), 'utf8');
  return (text.match(/^ *```(js|ts|javascript|typescript|mjs|tsx|jsx)\b/gm) ?? []).length;
}

/** What stands below a heading of a page, up to the next one: its text, and `{ language, code, output }` of each block. */
export function sectionOf(page, heading) {
  const text = readFileSync(join(root, page), 'utf8').replaceAll('\r\n', '\n');
  const sections = text.replace(/^```[\s\S]*?^```/gm, (fence) => fence.replace(/^#/gm, '\0')).split(/^(?=#+ )/m);
  const section = sections.find((one) => new RegExp(`^#+ ${heading}\n`).test(one))?.replaceAll('\0', '#');
  if (section === undefined) throw new Error(`${page} has no section "${heading}"`);
  const fences = /^```(\w+)\n([\s\S]*?)^```\n(?:\nOutput:\n\n```text\n([\s\S]*?)^```)?/gm;
  const blocks = [...section.matchAll(fences)].map(([, language, code, output]) => ({ language, code, output }));
  return { text: section, blocks };
}
