// What the package costs a page: bundles entries as an application's bundler does, minifies them and prints their sizes. Fails when a spoke is
// larger than its bound, or when a bundle holds what was not asked for. Builds dist/ first. With --parts it prints what each file has in the
// spoke's bundle. Usage: node scripts/size.mjs [--parts]
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { buildTypeScript, installPackages } from './build.mjs';
import { root } from './project.mjs';
import { Failure, parse, whenStarted } from './run.mjs';

const core = "export { createPubSub, createMemoryEventTarget, createEvent } from '@alkdev/pubsub-native';";
const spoke = "export { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';";

/** `without`: words that are found in a bundle only when something came along that nobody asked for. */
const bundles = [
  {
    name: 'createEvent',
    code: "export { createEvent } from '@alkdev/pubsub-native'",
    without: ['handleEvent', 'unread events', 'asyncDispose', 'WebSocket'],
  },
  {
    name: 'createPubSub',
    code: "export { createPubSub } from '@alkdev/pubsub-native'",
    without: ['WebSocket', '__hello', 'a whole number'],
  },
  { name: 'the core: createPubSub, memory target, createEvent', code: core, without: ['WebSocket', '__hello'] },
  { name: 'createWebSocketClientEventTarget', code: spoke, without: ['createRequire', 'node:', 'unread events'] },
  { name: 'the core and createWebSocketClientEventTarget', code: core + spoke, without: ['createRequire', 'node:'] },
];

/** Bytes with gzip that a spoke may cost a page: by itself, and where the core is there already. */
const MAX_SPOKE = 11_500;
const MAX_ADDED = 8192;

/** Sizes in bytes. Throws when a bundle is too large, or holds what nobody asked for. */
export async function measure() {
  const sizes = [];
  for (const { name, code, without } of bundles) {
    const { outputFiles, metafile } = await build({
      stdin: { contents: code, resolveDir: root },
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'browser',
      target: 'es2022',
      write: false,
      metafile: true,
    });
    const [{ contents, text }] = outputFiles;
    const strangers = without.filter((word) => text.includes(word));
    if (strangers.length > 0) throw new Failure(`the bundle of ${name} holds ${strangers.join(', ')}`);
    const [{ inputs }] = Object.values(metafile.outputs);
    const parts = Object.entries(inputs).map(([file, { bytesInOutput }]) => ({ file, bytes: bytesInOutput }));
    const gzip = gzipSync(contents, { level: 9 }).length;
    sizes.push({ name, minified: contents.length, gzip, brotli: brotliCompressSync(contents).length, parts });
  }
  const [, , ofCore, ofSpoke, ofBoth] = sizes;
  const added = { gzip: ofBoth.gzip - ofCore.gzip, brotli: ofBoth.brotli - ofCore.brotli };
  if (ofSpoke.gzip > MAX_SPOKE || added.gzip > MAX_ADDED)
    throw new Failure(
      `a spoke has ${ofSpoke.gzip} bytes with gzip (at most ${MAX_SPOKE}) and adds ${added.gzip} to the core (at most ${MAX_ADDED})`,
    );
  return { sizes, added };
}

whenStarted(import.meta.url, async (args) => {
  const { options } = parse(args, { '--parts': 'flag' });
  installPackages();
  buildTypeScript();
  const { sizes, added } = await measure();
  const number = (bytes) => String(bytes).padStart(6);
  for (const { name, minified, gzip, brotli } of sizes)
    console.log(
      `${name.padEnd(52)} ${number(minified)} bytes minified, ${number(gzip)} with gzip, ${number(brotli)} with brotli`,
    );
  console.log(
    `${'added to the core by createWebSocketClientEventTarget'.padEnd(75)} ${number(added.gzip)} with gzip, ${number(added.brotli)} with brotli`,
  );
  if (!options['--parts']) return;
  const { name, parts } = sizes[3];
  console.log(`\nbytes minified of ${name}, by file:`);
  for (const { file, bytes } of parts.filter((part) => part.bytes > 0).sort((a, b) => b.bytes - a.bytes))
    console.log(`${number(bytes)}  ${file}`);
});
