// What the addon costs by what is built into it: builds it for release once per set of features and prints a table. Leaves each in a copy of the package, in
// target/sizes, so that speeds can be compared: "npm run bench -- --before target/sizes/everything-s --peers ours,before".
// Usage: node scripts/addon-sizes.mjs [--opt-level LEVEL] [--set NAME]
//   --opt-level  another than that of Cargo.toml: 2, 3, s or z
//   --set        one of the sets alone
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { buildAddon, buildTypeScript, installPackages } from './build.mjs';
import { makeMain } from './packages.mjs';
import { fromRoot } from './project.mjs';
import { requireAll } from './requirements.mjs';
import { Failure, parse, whenStarted } from './run.mjs';

const sets = {
  everything: { text: 'everything: what is published', options: {} },
  'no-iroh': { text: 'without Iroh', options: { defaults: false, features: ['redis'] } },
  'no-redis': { text: 'without Redis', options: { defaults: false, features: ['iroh'] } },
  websocket: { text: 'WebSocket and the bus of a process alone', options: { defaults: false } },
};

const levels = ['2', '3', 's', 'z'];

/** A number for TOML, a text otherwise. */
const toToml = (level) => (/^\d$/.test(level) ? level : `"${level}"`);

const megabytes = (bytes) => (bytes / 1e6).toFixed(2);

function sizeOf(name, level) {
  const folder = fromRoot('target/sizes', level === undefined ? name : `${name}-${level}`);
  makeMain(folder);
  const optLevel = level === undefined ? undefined : toToml(level);
  const bytes = readFileSync(buildAddon({ ...sets[name].options, release: true, folder, optLevel }));
  return { file: bytes.length, packed: gzipSync(bytes, { level: 9 }).length };
}

whenStarted(import.meta.url, (args) => {
  const { options } = parse(args, { '--opt-level': 'value', '--set': 'value' });
  const [level, only] = [options['--opt-level'], options['--set']];
  if (level !== undefined && !levels.includes(level))
    throw new Failure(`--opt-level is one of ${levels.join(', ')}`, 2);
  if (only !== undefined && sets[only] === undefined)
    throw new Failure(`--set is one of ${Object.keys(sets).join(', ')}`, 2);
  requireAll();
  installPackages();
  buildTypeScript();
  const rows = Object.keys(sets)
    .filter((name) => only === undefined || name === only)
    .map((name) => ({ name, ...sizeOf(name, level) }));
  console.log(`| built with | cargo build --release … | file | with gzip |\n|---|---|---|---|`);
  for (const { name, file, packed } of rows) {
    const { defaults = true, features = [] } = sets[name].options;
    const flags = [
      ...(defaults ? [] : ['--no-default-features']),
      ...features.map((feature) => `--features ${feature}`),
    ].join(' ');
    console.log(
      `| ${sets[name].text} | ${flags === '' ? '' : `\`${flags}\``} | ${megabytes(file)} MB | ${megabytes(packed)} MB |`,
    );
  }
});
