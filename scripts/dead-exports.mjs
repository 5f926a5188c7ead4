// Finds what a file of ts/ exports and nobody imports: neither another file, nor a test or script, nor the users of an entry point.
// Reads the sources as text: the house style has one form of import and export each. Usage: node scripts/dead-exports.mjs
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fromRoot, packageJson } from './project.mjs';
import { Failure, say, whenStarted } from './run.mjs';

const declaration =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:const|let|function\*?|class|interface|type|enum) (\w+)/gm;
const list = /(import|export)\s+(?:type\s+)?\{([^}]*)\}\s*(?:from\s+'([^']+)')?/g;
const dynamic = /import\('([^']+)'\)/g;

/** `a, type b as c` → the names before and after `as`. */
const namesIn = (text) =>
  text
    .split(',')
    .map((part) => part.trim().replace(/^type\s+/, ''))
    .filter((part) => part !== '')
    .map((part) => part.split(/\s+as\s+/));

function filesIn(folder, extension) {
  return readdirSync(fromRoot(folder), { recursive: true })
    .map((name) => posix.join(folder, name.replaceAll('\\', '/')))
    .filter((name) => name.endsWith(extension) && !name.includes('node_modules'));
}

/** The source behind an import of `file`, if it is one of ours. */
function sourceOf(file, specifier) {
  if (specifier === undefined || !specifier.startsWith('.')) return undefined;
  return posix
    .join(dirname(file), specifier)
    .replace(/^dist\//, 'ts/')
    .replace(/\.js$/, '.ts');
}

export function deadExports() {
  const sources = filesIn('ts', '.ts');
  const exported = new Map(sources.map((file) => [file, new Set()]));
  const used = new Set();
  const use = (file, name) => used.add(`${file} ${name}`);
  for (const file of [
    ...sources,
    ...['__test__', 'scripts', 'benchmark', 'chaos', 'attack'].flatMap((folder) => filesIn(folder, '.mjs')),
  ]) {
    const text = readFileSync(fromRoot(file), 'utf8');
    const own = exported.get(file);
    if (own !== undefined) for (const [, name] of text.matchAll(declaration)) own.add(name);
    for (const [, kind, names, specifier] of text.matchAll(list)) {
      const from = sourceOf(file, specifier);
      for (const [name, alias = name] of namesIn(names)) {
        if (from !== undefined) use(from, name);
        if (kind === 'export' && own !== undefined) own.add(alias);
      }
    }
    // Which names such an import takes is not looked at.
    for (const [, specifier] of text.matchAll(dynamic))
      for (const name of exported.get(sourceOf(file, specifier)) ?? []) use(sourceOf(file, specifier), name);
  }
  const entries = Object.values(packageJson().exports)
    .flatMap((target) => (typeof target === 'string' ? [] : Object.values(target)))
    .map((file) =>
      join(file)
        .replaceAll('\\', '/')
        .replace(/^dist\//, 'ts/')
        .replace(/\.d\.ts$|\.js$/, '.ts'),
    );
  return [...exported]
    .filter(([file]) => !entries.includes(file))
    .flatMap(([file, names]) =>
      [...names].filter((name) => !used.has(`${file} ${name}`)).map((name) => `${file}: ${name}`),
    );
}

export function checkExports() {
  const dead = deadExports();
  if (dead.length > 0)
    throw new Failure(`exported and imported by nobody:\n${dead.map((line) => `  ${line}`).join('\n')}`);
}

whenStarted(import.meta.url, () => {
  checkExports();
  say('every export has somebody who imports it');
});
