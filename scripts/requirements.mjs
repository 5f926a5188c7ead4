// Names what the machine lacks to build and test the project, one line each with what to install. Installs nothing.
import { isAtLeast, requiredNode, requiredRust } from './project.mjs';
import { Failure, probe, say, whenStarted } from './run.mjs';

/** What is missing; each a line that says what and what to do. */
export function missingRequirements() {
  return [node(), rust('cargo'), rust('rustc'), cCompiler()].filter((line) => line !== null);
}

/** Ends the script when something is missing. */
export function requireAll() {
  const missing = missingRequirements();
  if (missing.length > 0)
    throw new Failure(`missing on this machine:\n${missing.map((line) => `  ${line}`).join('\n')}`);
}

function node() {
  const want = requiredNode();
  if (isAtLeast(process.versions.node, want)) return null;
  return `Node.js ${want} or newer (this is ${process.versions.node}): install it from nodejs.org or with your version manager`;
}

function rust(command) {
  const want = requiredRust();
  const output = probe(command, ['--version']);
  if (output === null) return `${command} ${want} or newer: install Rust with rustup (rustup.rs)`;
  const have = /\d+\.\d+\.\d+/.exec(output)?.[0] ?? '0';
  return isAtLeast(have, want) ? null : `${command} ${want} or newer (this is ${have}): run "rustup update stable"`;
}

/** The cryptography (ring) has C and assembly in it. The compiler of Visual Studio is found by cargo itself. */
function cCompiler() {
  if (process.platform === 'win32') return null;
  const candidates = [process.env.CC, 'cc', 'gcc', 'clang'].filter((name) => name !== undefined && name !== '');
  if (candidates.some((name) => probe(name, ['--version']) !== null)) return null;
  const remedy =
    process.platform === 'darwin'
      ? 'run "xcode-select --install"'
      : 'install gcc (Debian, Ubuntu: "apt-get install gcc libc6-dev")';
  return `a C compiler: ${remedy}`;
}

whenStarted(import.meta.url, () => {
  requireAll();
  say('Node.js, Rust and a C compiler are here');
});
