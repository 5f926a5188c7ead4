// A copy of the package with a release addon that has the benchmarks' sources, beside the one that tests use.
// Does not measure. The copy is target/bench-package; nothing of it is ever published.

import { copyFileSync, cpSync, mkdirSync, rmSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { buildAddon, buildTypeScript, installPackages } from '../scripts/build.mjs';
import { fromRoot } from '../scripts/project.mjs';
import { run } from '../scripts/run.mjs';

const folder = fromRoot('target/bench-package');

/** Builds what is missing and returns what the benchmarks import. */
export async function setUp() {
  setUpPackage();
  run('cargo', ['build', '--release', '-p', 'alkpubsub-engine', '--example', 'load'], { quiet: true });
  return importAll();
}

/** Builds the copy of the package and returns its folder. */
export function setUpPackage() {
  installPackages();
  mkdirSync(folder, { recursive: true });
  buildAddon({ release: true, features: ['bench'], folder });
  buildTypeScript();
  rmSync(`${folder}/dist`, { recursive: true, force: true });
  cpSync(fromRoot('dist'), `${folder}/dist`, { recursive: true });
  for (const file of ['package.json', 'loader.cjs', 'platform.cjs']) copyFileSync(fromRoot(file), `${folder}/${file}`);
  return folder;
}

/** The load client, see engine/examples/load.rs. */
export const loadClient = fromRoot('target/release/examples/load');

async function importAll() {
  const at = (path) => import(pathToFileURL(`${folder}/${path}`).href);
  return {
    binding: (await at('loader.cjs')).default,
    ...(await at('dist/index.js')),
    ...(await at('dist/native-target.js')),
    ...(await at('dist/event-target-websocket-server.js')),
    ...(await at('dist/event-target-websocket-client.js')),
  };
}

export { importAll };
