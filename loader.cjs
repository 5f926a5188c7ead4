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
  const { platform, arch } = process;
  const lines = [`The addon of @alkdev/pubsub-native could not be loaded on ${platform}-${arch}${libc()}.`];
  const broken = failures.find((error) => !isMissing(error));
  if (broken !== undefined)
    lines.push(`Loading it failed: ${broken instanceof Error ? broken.message : String(broken)}`);
  if (failures.length === 0) {
    lines.push('There is none for this platform: build it from the sources of the package with "npm run build".');
  } else if (broken === undefined) {
    lines.push(
      'Install the package of this platform in the same version (it is an optional dependency: install without "--omit=optional"),',
      'or build the addon from the sources of the package with "npm run build".',
    );
  }
  if (typeof globalThis.Deno === 'object') lines.push('Deno loads it with the permission --allow-ffi only.');
  const error = new Error(lines.join('\n'), {
    cause: new AggregateError(failures, `${failures.length} places were tried`),
  });
  return Object.assign(error, { code: 'ERR_NATIVE_UNAVAILABLE' });
}

/** A file or package that does not exist, as opposed to one that cannot be loaded. */
function isMissing(error) {
  return error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND';
}

function libc() {
  if (process.platform !== 'linux') return '';
  try {
    const version = process.report.getReport().header.glibcVersionRuntime;
    return version === undefined ? ' (no glibc)' : ` (glibc ${version})`;
  } catch {
    return '';
  }
}

module.exports = load();
