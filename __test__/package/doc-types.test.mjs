// The examples of the documentation against the declarations of the package: each block is compiled, TypeScript strictly; of JavaScript what
// says that a name, a module, an option or an argument is wrong. One that is not compiled has a mark with the reason.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { blocksOf, pages, root } from './doc-blocks.mjs';

/** Inside the package, so that its own name is found. Ignored by git. */
const cache = join(root, '.cache');

test('every block of code compiles', (t) => {
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, 'doc-blocks-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const places = new Map();
  for (const { page, line, language, code, notChecked } of pages().flatMap(blocksOf)) {
    if (notChecked !== undefined) {
      t.diagnostic(`${page}:${line} is not checked: ${notChecked}`);
      continue;
    }
    const name = `${page.replace(/\W/g, '-')}-${line}.ts`;
    mkdirSync(join(folder, language), { recursive: true });
    // In one line with the end, so that line numbers are those of the block.
    writeFileSync(join(folder, language, name), `${code}\nexport {};\n`);
    places.set(name, { page, line });
  }
  assert.ok(places.size > 20, `only ${places.size} blocks were found`);
  const problems = ['js', 'ts'].flatMap((language) => compile(folder, language, places));
  assert.deepEqual(problems, []);
});

/**
 * What counts in JavaScript: names, modules and exports that are not there, wrong arguments, unknown options and members. Payloads without types
 * are `unknown`, and reading them is no mistake there.
 */
const counts = /error TS(2304|2305|2307|2339|2353|2551|2552|2554|2561|2724|2769)\b/;
const untyped = /TS2339: .* on type '(unknown|\{\}|string \| AddressInfo|EventEnvelope<string, unknown>)'/;

/** What examples take for given: globals of other runtimes, and modules of the reader's. */
const globals = `declare const Deno: any;
declare const Bun: any;
declare module '*/sessions.js' { export function findSession(token: string | undefined): Promise<any>; }
`;

const settings = {
  js: { strict: false, noImplicitAny: false },
  ts: { strict: true },
};

/** What the compiler says, with places in the pages. */
function compile(folder, language, places) {
  const compilerOptions = {
    ...{ target: 'es2022', module: 'nodenext', noEmit: true, skipLibCheck: true, rootDir: root, types: ['node'] },
    lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'],
    ...settings[language],
  };
  mkdirSync(join(folder, language), { recursive: true });
  writeFileSync(join(folder, language, 'globals.d.ts'), globals);
  const config = join(folder, `tsconfig.${language}.json`);
  writeFileSync(config, JSON.stringify({ compilerOptions, include: [language] }));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { stdout } = spawnSync(process.execPath, [tsc, '-p', config, '--pretty', 'false'], {
    cwd: root,
    encoding: 'utf8',
  });
  return stdout
    .split('\n')
    .filter((line) => (language === 'js' ? counts.test(line) && !untyped.test(line) : /error TS/.test(line)))
    .map((line) => {
      const [, file, at, message] = /^(.*)\((\d+),\d+\): (.*)$/.exec(line) ?? [];
      const place = places.get(relative(join(folder, language), join(root, file ?? '')));
      return place === undefined ? line : `${place.page}:${place.line + Number(at)}: ${message}`;
    });
}
