// The same package, with the same binary, in every runtime: a hub and a spoke exchange events, over a socket and within a network inside
// the process, close, and the process ends by itself.
// Deno and Bun come from npm packages; where one has no binary for this machine its test is skipped, with CI=true it fails.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const isCI = process.env.CI === 'true' || process.env.CI === '1';
const exe = process.platform === 'win32' ? '.exe' : '';
const bunArch = process.arch === 'arm64' ? 'aarch64' : process.arch;
const bunPlatform = process.platform === 'win32' ? 'windows' : process.platform;
const denoSuffix = process.platform === 'linux' ? '-glibc' : '';

/** A process that does not end by itself is ended, and the test fails. */
const patienceMs = 60_000;

const runtimes = [
  { name: 'Node.js', commands: [process.execPath], args: [] },
  {
    name: 'Deno',
    commands: [join(root, `node_modules/@deno/${process.platform}-${process.arch}${denoSuffix}/deno${exe}`), 'deno'],
    // The one permission that the package needs: sockets are opened by the addon.
    args: ['run', '--no-prompt', '--allow-ffi'],
  },
  {
    name: 'Bun',
    commands: [join(root, `node_modules/@oven/bun-${bunPlatform}-${bunArch}/bin/bun${exe}`), 'bun'],
    args: [],
  },
];

let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'runtimes-'));
  const target = join(folder, 'node_modules/@alkdev/pubsub-native');
  mkdirSync(target, { recursive: true });
  cpSync(join(root, 'dist'), join(target, 'dist'), { recursive: true });
  const binaries = readdirSync(root).filter((name) => name.endsWith('.node'));
  assert.ok(binaries.length > 0, 'the addon is not built: run "npm run build"');
  for (const name of ['package.json', 'loader.cjs', ...binaries]) copyFileSync(join(root, name), join(target, name));
  for (const name of ['smoke.mjs', 'network.mjs']) copyFileSync(new URL(name, import.meta.url), join(folder, name));
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ type: 'module', dependencies: { '@alkdev/pubsub-native': '*' } }),
  );
});

after(() => rmSync(folder, { recursive: true, maxRetries: 5 }));

for (const runtime of runtimes) {
  test(`hub and spoke in ${runtime.name}`, async (t) => {
    const payload = { text: 'gr\u00fc\u00df dich \u{1f600}', big: 2 ** 53 };
    await prints(t, runtime, 'smoke.mjs', {
      greeting: { type: 'greeting', id: 'all', payload },
      answer: { type: 'answer', id: 'one', payload },
      spoke: 'closed',
      hub: 'closed',
    });
  });

  test(`a network with a cut in ${runtime.name}`, async (t) => {
    const expected = { heard: ['before', 'after'], topics: ['chat:1'], spoke: 'closed', hub: 'closed' };
    await prints(t, runtime, 'network.mjs', expected);
  });
}

/** The script prints this one object and ends by itself. */
async function prints(t, { name, commands, args }, script, expected) {
  const command = commands.find(runs);
  if (command === undefined) {
    assert.ok(!isCI, `${name} has no binary for this machine, and CI needs it`);
    return t.skip(`${name} is not installed for this machine`);
  }
  const { code, stdout, stderr } = await finished(command, [...args, script]);
  assert.equal(code, 0, `${stdout}${stderr}`);
  assert.deepEqual(JSON.parse(stdout), expected);
}

function runs(command) {
  if (command.includes('node_modules') && !existsSync(command)) return false;
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function finished(command, args) {
  return new Promise((resolve) => {
    const options = { cwd: folder, timeout: patienceMs, killSignal: 'SIGKILL', env: { ...process.env, NO_COLOR: '1' } };
    execFile(command, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.signal ?? error.code), stdout, stderr });
    });
  });
}
