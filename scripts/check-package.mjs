// Whether the packed package is what every kind of importer can use: publint reads package.json and files, arethetypeswrong resolves the types
// as TypeScript does. Packs into a temporary folder. Usage: node scripts/check-package.mjs
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildTypeScript, installPackages } from './build.mjs';
import { commandOf } from './project.mjs';
import { Failure, npm, run, timed, whenStarted } from './run.mjs';

/**
 * ES modules only, by design: Node from 20.19 on lets CommonJS require them, which this rule does not know. The old resolution of Node 10
 * knows no exports at all.
 */
const types = ['--profile', 'node16', '--ignore-rules', 'cjs-resolves-to-esm'];

export function checkPackage() {
  installPackages();
  buildTypeScript();
  const folder = mkdtempSync(join(tmpdir(), 'package-'));
  try {
    timed('packing', () =>
      npm(['pack', '--silent', '--ignore-scripts', '--pack-destination', folder], { quiet: true }),
    );
    const [name] = readdirSync(folder);
    if (name === undefined) throw new Failure('npm pack made no file');
    const tarball = join(folder, name);
    timed('publint', () => run(process.execPath, [commandOf.publint, 'run', tarball, '--strict'], { quiet: true }));
    timed('arethetypeswrong', () =>
      run(process.execPath, [commandOf.attw, tarball, '--no-emoji', '--no-color', ...types], {
        quiet: true,
      }),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

whenStarted(import.meta.url, checkPackage);
