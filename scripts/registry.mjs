// A registry of npm packages on loopback that has exactly the packages it is given, for installing them as a user does. Does not know other
// packages: whatever else is asked for is not found, and noted. Started itself, it makes the packages of this machine and serves them until
// Ctrl-C. Usage: node scripts/registry.mjs [--no-build]
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { build } from './build.mjs';
import { makePackages, packAll } from './packages.mjs';
import { platforms, thisPlatform } from './platforms.mjs';
import { fromRoot } from './project.mjs';
import { Failure, parse, whenStarted } from './run.mjs';

/** @param {readonly { name: string, folder: string, tarball: string }[]} packages what packAll() made */
export async function serveRegistry(packages) {
  const strangers = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname).slice(1);
    const made = packages.find(({ name, tarball }) => path === name || path === `${name}/-/${basename(tarball)}`);
    if (made === undefined) {
      strangers.push(path);
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}');
    } else if (path === made.name) {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(documentOf(made, url)));
    } else {
      response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(readFileSync(made.tarball));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, strangers, close: () => server.close() };
}

/**
 * All packages, packed in a folder, this platform's with the addon that is in `source`. Those of other platforms have a file that is no
 * binary: package managers want them to exist, and installing one of them would be a mistake.
 */
export function packAsPublished(folder, source = fromRoot('.')) {
  const binaries = join(folder, 'binaries');
  mkdirSync(binaries);
  const fileOf = ({ suffix }) => `pubsub-native.${suffix}.node`;
  for (const platform of platforms) writeFileSync(join(binaries, fileOf(platform)), 'no binary');
  const own = fileOf(thisPlatform());
  if (!existsSync(join(source, own))) throw new Failure(`there is no ${own} in ${source}`);
  copyFileSync(join(source, own), join(binaries, own));
  return packAll(makePackages({ binaries, all: true, folder: join(folder, 'packages') }), join(folder, 'tarballs'));
}

/** What a registry says about a package of one version. */
function documentOf({ name, folder, tarball }, url) {
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const bytes = readFileSync(tarball);
  const dist = {
    tarball: `${url}/${name}/-/${basename(tarball)}`,
    integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}`,
    shasum: createHash('sha1').update(bytes).digest('hex'),
  };
  const { version } = manifest;
  const time = { created: '2026-01-01T00:00:00.000Z', modified: '2026-01-01T00:00:00.000Z' };
  return {
    ...{ _id: name, name, 'dist-tags': { latest: version } },
    time: { ...time, [version]: time.created },
    versions: { [version]: { ...manifest, _id: `${name}@${version}`, dist } },
  };
}

whenStarted(import.meta.url, async (args) => {
  const { options } = parse(args, { '--no-build': 'flag' });
  if (!options['--no-build']) build({ release: true });
  const folder = mkdtempSync(join(tmpdir(), 'registry-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit());
  const { url } = await serveRegistry(packAsPublished(folder));
  console.log(`Serving what npm will have, and nothing else, until Ctrl-C. In another terminal, in an empty folder:

  export NPM_CONFIG_REGISTRY=${url}
`);
});
