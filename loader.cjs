// Finds and loads the addon of this platform. Does not read the environment, start processes or look at files: on Deno
// `--allow-ffi` is all it needs, and bundlers see every name, because each `require` is a literal directly inside its own `try`.
// Order: a local build beside this file, then the package of the platform; glibc before musl.
'use strict';

/** @type {unknown[]} */
const failures = [];

function load() {
  switch (`${process.platform}-${process.arch}`) {
    case 'linux-x64':
      try {
        return require('./pubsub-native.linux-x64-gnu.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-linux-x64-gnu');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('./pubsub-native.linux-x64-musl.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-linux-x64-musl');
      } catch (error) {
        failures.push(error);
      }
      break;
    case 'linux-arm64':
      try {
        return require('./pubsub-native.linux-arm64-gnu.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-linux-arm64-gnu');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('./pubsub-native.linux-arm64-musl.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-linux-arm64-musl');
      } catch (error) {
        failures.push(error);
      }
      break;
    case 'darwin-x64':
      try {
        return require('./pubsub-native.darwin-x64.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-darwin-x64');
      } catch (error) {
        failures.push(error);
      }
      break;
    case 'darwin-arm64':
      try {
        return require('./pubsub-native.darwin-arm64.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-darwin-arm64');
      } catch (error) {
        failures.push(error);
      }
      break;
    case 'win32-x64':
      try {
        return require('./pubsub-native.win32-x64-msvc.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-win32-x64-msvc');
      } catch (error) {
        failures.push(error);
      }
      break;
    case 'win32-arm64':
      try {
        return require('./pubsub-native.win32-arm64-msvc.node');
      } catch (error) {
        failures.push(error);
      }
      try {
        return require('@alkdev/pubsub-native-win32-arm64-msvc');
      } catch (error) {
        failures.push(error);
      }
      break;
  }
  throw unavailable();
}

/** The one error that says what was looked for, why it failed and what to do. */
function unavailable() {
  const platform = require('./platform.cjs');
  const { name, version } = require('./package.json');
  const libc = platform.libc();
  const needed = platform.packageName();
  const broken = failures.find((error) => !isMissing(error));
  const lines = [`The addon of ${name} could not be loaded on ${describe(libc, platform.neededGlibc)}.`];
  if (broken !== undefined)
    lines.push(`Loading it failed: ${broken instanceof Error ? broken.message : String(broken)}`);
  if (platform.isGlibcTooOld()) lines.push('This glibc is too old: use a newer system or container image.');
  if (needed === undefined) lines.push('There is no package for this platform: the known ones are', ...known(platform));
  else if (broken === undefined)
    lines.push(
      `The package ${needed}, version ${version}, should be there and is not.`,
      'It is an optional dependency: install without "--omit=optional" or "--no-optional", and on this platform, not on another',
      'whose node_modules were copied here; if a lock file was made elsewhere, install once without it. By hand:',
      `  npm install ${needed}@${version}`,
    );
  lines.push('In a clone of the sources, "npm run build" builds the addon (it needs Rust).');
  if (typeof globalThis.Deno === 'object') lines.push('Deno loads it with the permission --allow-ffi only.');
  lines.push('Without the addon there are the core and, over the WebSocket class of the runtime, spokes.');
  const error = new Error(lines.join('\n'), {
    cause: new AggregateError(failures, `${failures.length} places were tried`),
  });
  return Object.assign(error, { code: 'ERR_NATIVE_UNAVAILABLE' });
}

/** `linux-x64 (glibc 2.36; 2.28 or newer is needed)` */
function describe(libc, neededGlibc) {
  const { platform, arch } = process;
  if (libc === undefined) return `${platform}-${arch}`;
  const found = libc.version === undefined ? libc.name : `${libc.name} ${libc.version}`;
  return `${platform}-${arch} (${found}; ${libc.name === 'glibc' ? `${neededGlibc} or newer` : 'any version'} is needed)`;
}

const known = ({ suffixes }) => Object.values(suffixes).map((suffix) => `  @alkdev/pubsub-native-${suffix}`);

/** A file or package that does not exist, as opposed to one that cannot be loaded. */
function isMissing(error) {
  return error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND';
}

module.exports = load();
