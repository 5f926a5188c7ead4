// Holds the rules of deny.toml on the resolved dependency tree: banned crates, licences, sources, and one provider (ring) for rustls.
// cargo-deny does this and more (advisories); where it is installed it runs as well.
import { readFileSync } from 'node:fs';
import { fromRoot, lockedInCI } from './project.mjs';
import { Failure, probe, run, say, timed, whenStarted } from './run.mjs';

export function checkDependencies() {
  timed('dependencies', () => {
    const metadata = JSON.parse(
      run('cargo', ['metadata', '--format-version=1', '--all-features', ...lockedInCI()], { capture: true }),
    );
    const rules = readRules(readFileSync(fromRoot('deny.toml'), 'utf8'));
    const problems = [
      ...packagesOf(metadata).flatMap((entry) => problemsOf(entry, rules)),
      ...doubleProblems(packagesOf(metadata), rules),
      ...providerProblems(metadata),
    ];
    if (problems.length > 0)
      throw new Failure(`dependencies against deny.toml:\n${problems.map((line) => `  ${line}`).join('\n')}`);
  });
  if (probe('cargo', ['deny', '--version']) !== null)
    run('cargo', ['deny', 'check', 'bans', 'licenses', 'sources'], { quiet: true });
  else say('cargo-deny is not installed: advisories are not checked');
}

/** The two lists of deny.toml that are checked here. Reads the layout that the file has, not every TOML. */
function readRules(text) {
  const list = (start) => {
    const body = new RegExp(`^${start} = \\[\\n?([\\s\\S]*?)\\]`, 'm').exec(text)?.[1];
    if (body === undefined) throw new Failure(`deny.toml has no list "${start}"`);
    return body;
  };
  const strings = (body) => [...body.matchAll(/"([^"]*)"/g)].map((match) => match[1]);
  return {
    banned: new Map(
      [...list('deny').matchAll(/crate = "([^"]+)", reason = "([^"]+)"/g)].map((match) => [match[1], match[2]]),
    ),
    single: new Map(
      [...list('deny').matchAll(/crate = "([^"]+)", deny-multiple-versions = true, reason = "([^"]+)"/g)].map(
        (match) => [match[1], match[2]],
      ),
    ),
    licenses: new Set(strings(list('allow'))),
  };
}

/** Packages from elsewhere that are really used with all features: the lock file alone also names optional ones. */
function packagesOf(metadata) {
  const used = new Set(metadata.resolve.nodes.map((node) => node.id));
  return metadata.packages.filter((entry) => used.has(entry.id) && entry.source !== null);
}

function problemsOf({ name, version, license, source }, { banned, licenses }) {
  const problems = [];
  if (banned.has(name))
    problems.push(`${name} ${version} is banned: ${banned.get(name)}. "cargo tree -i ${name}" tells who wants it`);
  if (!isAllowed(license ?? '', licenses))
    problems.push(`${name} ${version} has the licence "${license}", which is not in the list`);
  if (!isCratesIo(source)) problems.push(`${name} ${version} comes from ${source}`);
  return problems;
}

/** Of some crates there is one version only. */
function doubleProblems(packages, { single }) {
  return [...single].flatMap(([name, reason]) => {
    const versions = packages.filter((entry) => entry.name === name).map(({ version }) => version);
    return versions.length > 1 ? [`${name} is there as ${versions.join(' and ')}: ${reason}`] : [];
  });
}

const isCratesIo = (source) => /^registry\+.*\/crates\.io-index$/.test(source);

/** Is there a way to meet an SPDX expression with the allowed licences? "/" is an old way to write OR. */
function isAllowed(expression, allowed) {
  const tokens = expression.replaceAll('/', ' OR ').match(/\(|\)|[^\s()]+/g) ?? [];
  const any = () => {
    let result = all();
    while (tokens[0] === 'OR') {
      tokens.shift();
      result = all() || result;
    }
    return result;
  };
  const all = () => {
    let result = one();
    while (tokens[0] === 'AND') {
      tokens.shift();
      result = one() && result;
    }
    return result;
  };
  const one = () => {
    if (tokens[0] === '(') {
      tokens.shift();
      const result = any();
      tokens.shift();
      return result;
    }
    let name = tokens.shift();
    if (tokens[0] === 'WITH') name += ` ${tokens.shift()} ${tokens.shift()}`;
    return allowed.has(name);
  };
  return any() && tokens.length === 0;
}

/** rustls has one provider, and it is ring. */
function providerProblems(metadata) {
  const nameOf = new Map(metadata.packages.map((entry) => [entry.id, entry.name]));
  const rustls = metadata.resolve.nodes.filter((node) => nameOf.get(node.id) === 'rustls');
  return rustls.flatMap((node) => {
    const problems = node.features.includes('ring') ? [] : ['rustls has no provider: give it the feature "ring"'];
    if (node.features.some((feature) => feature.startsWith('aws')))
      problems.push('rustls has the provider aws-lc-rs beside ring');
    return problems;
  });
}

whenStarted(import.meta.url, checkDependencies);
