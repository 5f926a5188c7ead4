// The pages of the documentation among each other: links lead somewhere, guides are linked from README, and blocks of commands or markup say
// what runs them.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { pages, root } from './doc-blocks.mjs';

const textOf = (page) => readFileSync(join(root, page), 'utf8').replaceAll('\r\n', '\n');
const withoutBlocks = (text) => text.replace(/^ *```[\s\S]*?^ *```/gm, '');

/** The anchors that GitHub makes of headings. */
function anchorsOf(page) {
  const headings = withoutBlocks(textOf(page)).matchAll(/^#+ (.+)$/gm);
  const anchorOf = (heading) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_\- ]/gu, '')
      .trim()
      .replaceAll(' ', '-');
  return new Set([...headings].map(([, heading]) => anchorOf(heading)));
}

const all = [...pages(), 'SECURITY.md', 'CHANGELOG.md'];

for (const page of all) {
  test(`${page}: every link leads to a file, and to a heading of it`, () => {
    for (const [, link] of withoutBlocks(textOf(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link)) continue;
      const [path, anchor] = link.split('#');
      const file = path === '' ? page : normalize(join(dirname(page), path)).replaceAll('\\', '/');
      assert.ok(existsSync(join(root, file)), `${link} leads nowhere`);
      if (anchor !== undefined) assert.ok(anchorsOf(file).has(anchor), `${link}: ${file} has no such heading`);
    }
  });

  test(`${page}: a block of commands or markup names what runs it, or says why nothing does`, () => {
    const marked = /(?:^<!-- (run by|not run): ([^\n]+) -->\n)?^ *```(\w+)\n/gm;
    for (const [, kind, rest, language] of textOf(page).matchAll(marked)) {
      // What JavaScript prints is compared, and JavaScript is run, by examples.test.mjs.
      if (['js', 'ts', 'text'].includes(language)) continue;
      assert.notEqual(kind, undefined, `a block of ${language} has no <!-- run by: FILE --> or <!-- not run: why -->`);
      if (kind === 'run by') assert.ok(existsSync(join(root, rest)), `there is no ${rest}`);
    }
  });
}

test('README links every page', () => {
  const links = new Set([...textOf('README.md').matchAll(/\]\(([^)#\s]+)/g)].map(([, link]) => link));
  for (const page of [...pages(), 'docs/api.md', 'SECURITY.md', 'CHANGELOG.md'])
    assert.ok(page === 'README.md' || links.has(page), `${page} is not linked`);
});
