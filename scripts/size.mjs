// What the package costs a page: bundles each entry as an application's bundler does, minifies it and prints its size. Fails when a bundle is
// larger than its bound, or holds what was not asked for. Builds dist/ first. Usage: node scripts/size.mjs
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { buildTypeScript, installPackages } from './build.mjs';
import { root } from './project.mjs';
import { Failure, whenStarted } from './run.mjs';

/** `without`: words that are found in a bundle only when something came along that nobody asked for. */
const entries = [
  {
    name: 'createEvent',
    code: "export { createEvent } from '@alkdev/pubsub-native'",
    maxBytes: 1_100,
    without: ['handleEvent', 'unread events', 'asyncDispose', 'WebSocket'],
  },
  {
    name: 'createPubSub',
    code: "export { createPubSub } from '@alkdev/pubsub-native'",
    maxBytes: 3_300,
    without: ['handleEvent', 'WebSocket', '__hello'],
  },
  {
    name: 'createWebSocketClientEventTarget',
    code: "export { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client'",
    maxBytes: 12_000,
    without: ['createRequire', 'node:', 'unread events'],
  },
];

/** Sizes in bytes, and the words that should not be there. */
export async function measure() {
  const sizes = [];
  for (const { name, code, maxBytes, without } of entries) {
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
    const gzip = gzipSync(contents, { level: 9 }).length;
    sizes.push({ name, minified: contents.length, gzip, maxBytes, strangers: without.filter((it) => text.includes(it)) });
  }
  return sizes;
}

whenStarted(import.meta.url, async () => {
  installPackages();
  buildTypeScript();
  const sizes = await measure();
  for (const { name, minified, gzip, maxBytes } of sizes)
    console.log(`${name.padEnd(34)} ${minified} bytes minified, ${gzip} with gzip (at most ${maxBytes})`);
  for (const { name, gzip, maxBytes, strangers } of sizes) {
    if (strangers.length > 0) throw new Failure(`the bundle of ${name} holds ${strangers.join(', ')}`);
    if (gzip > maxBytes) throw new Failure(`${name} has ${gzip} bytes with gzip, at most ${maxBytes} are allowed`);
  }
});
