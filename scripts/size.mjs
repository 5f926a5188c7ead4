// What the package costs a page: bundles entries as an application's bundler does, minifies them and prints their sizes. Fails when a spoke is
// larger than its bound, or when a bundle holds what was not asked for. Builds dist/ first. Usage: node scripts/size.mjs
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { buildTypeScript, installPackages } from './build.mjs';
import { root } from './project.mjs';
import { Failure, whenStarted } from './run.mjs';

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
    const { outputFiles } = await build({
      stdin: { contents: code, resolveDir: root },
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'browser',
      target: 'es2022',
      write: false,
    });
    const [{ contents, text }] = outputFiles;
    const strangers = without.filter((word) => text.includes(word));
    if (strangers.length > 0) throw new Failure(`the bundle of ${name} holds ${strangers.join(', ')}`);
    sizes.push({ name, minified: contents.length, gzip: gzipSync(contents, { level: 9 }).length });
  }
  const [, , ofCore, ofSpoke, ofBoth] = sizes;
  const added = ofBoth.gzip - ofCore.gzip;
  if (ofSpoke.gzip > MAX_SPOKE || added > MAX_ADDED)
    throw new Failure(
      `a spoke has ${ofSpoke.gzip} bytes with gzip (at most ${MAX_SPOKE}) and adds ${added} to the core (at most ${MAX_ADDED})`,
    );
  return { sizes, added };
}

whenStarted(import.meta.url, async () => {
  installPackages();
  buildTypeScript();
  const { sizes, added } = await measure();
  for (const { name, minified, gzip } of sizes)
    console.log(
      `${name.padEnd(52)} ${String(minified).padStart(6)} bytes minified, ${String(gzip).padStart(6)} with gzip`,
    );
  console.log(
    `${'added to the core by createWebSocketClientEventTarget'.padEnd(75)} ${String(added).padStart(6)} with gzip`,
  );
});
