// Formatting and lints of both languages. Usage: node scripts/lint.mjs [--fix]; --fix formats and changes nothing else.

import { installPackages } from './build.mjs';
import { commandOf, fromRoot, lockedInCI } from './project.mjs';
import { parse, run, timed, whenStarted } from './run.mjs';

/** biome takes CI for a terminal with colours. */
const plain = process.stderr.isTTY ? [] : ['--colors=off'];

/** A workspace of its own. */
const fuzz = ['--manifest-path', fromRoot('fuzz/Cargo.toml')];

export function lint() {
  installPackages();
  timed('biome', () =>
    run(process.execPath, [commandOf.biome, 'ci', '--error-on-warnings', ...plain, '.'], { quiet: true }),
  );
  timed('cargo fmt', () => {
    run('cargo', ['fmt', '--all', '--check'], { quiet: true });
    run('cargo', ['fmt', ...fuzz, '--check'], { quiet: true });
  });
  timed('cargo clippy (the first time takes about 1 minute)', () => {
    // The addon has no tests of its own: built as one, it would miss what napi registers.
    for (const target of [
      ['-p', 'alkpubsub-engine', '--all-targets', '--all-features'],
      ['-p', 'pubsub-native', '--all-features'],
      // Without Iroh, two thirds of its size, and without Redis it has to compile as well.
      ['-p', 'pubsub-native', '--no-default-features'],
      ['-p', 'pubsub-native', '--no-default-features', '--features', 'redis'],
      ['-p', 'pubsub-native', '--no-default-features', '--features', 'iroh'],
    ]) {
      run('cargo', ['clippy', ...target, ...lockedInCI(), '--', '-D', 'warnings'], { quiet: true });
    }
  });
}

function format() {
  installPackages();
  run(process.execPath, [commandOf.biome, 'check', '--write', '.'], { quiet: true });
  run('cargo', ['fmt', '--all'], { quiet: true });
  run('cargo', ['fmt', ...fuzz], { quiet: true });
}

whenStarted(import.meta.url, (args) => (parse(args, { '--fix': 'flag' }).options['--fix'] ? format() : lint()));
