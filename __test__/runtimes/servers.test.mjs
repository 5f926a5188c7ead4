// The recipes of docs/servers.md on the real frameworks, each in the runtime that it is for; and in each runtime, how node:http hands
// connections over.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { createEvent } from '@alkdev/pubsub-native';
import { Log, listenTo, within } from '../websocket/facts.mjs';
import { makeOpenSpoke } from '../websocket/targets.mjs';
import { install } from './installed.mjs';
import { commandOf, runtimes } from './runtimes.mjs';

const recipes = new URL('../../examples/servers/', import.meta.url);
const names = readdirSync(recipes);

/** The runtimes that a recipe is for; the others run in Node alone. */
const runtimesOf = {
  'node-http.mjs': ['Node.js', 'Deno', 'Bun'],
  'express.mjs': ['Node.js', 'Deno', 'Bun'],
  'bun-serve.mjs': ['Bun'],
  'hono-bun.mjs': ['Bun'],
  'deno-serve.mjs': ['Deno'],
  'hono-deno.mjs': ['Deno'],
};

/** What a server needs in Deno besides. */
const permissions = ['--allow-ffi', '--allow-net', '--allow-env', '--allow-read'];

/** What becomes of a plain TCP socket of node:http. */
const handovers = { 'Node.js': process.platform === 'win32' ? 'pumped' : 'adopted', Deno: 'adopted', Bun: 'pumped' };

let installed;

before(() => {
  const files = names.map((name) => new URL(name, recipes));
  const packages = ['express', 'fastify', 'hono', '@hono/node-server', 'ws'];
  installed = install([...files, new URL('handover.mjs', import.meta.url)], packages);
});

after(() => installed.remove());

/** Runs a file until the test is over; what it prints, line by line. */
function run(t, command, args) {
  const child = spawn(command, args, { cwd: installed.folder, env: { ...process.env, NO_COLOR: '1' } });
  t.after(() => child.kill('SIGKILL'));
  const [lines, errors] = [new Log(), []];
  let rest = '';
  child.stdout.on('data', (data) => {
    const parts = `${rest}${data}`.split('\n');
    rest = parts.pop();
    for (const line of parts) lines.push(line);
  });
  child.stderr.on('data', (data) => errors.push(data));
  const died = new Promise((_, reject) => {
    child.on('exit', (code) => reject(new Error(`ended with ${code}: ${Buffer.concat(errors)}`)));
  });
  died.catch(() => {});
  return { lines, died };
}

/** Two spokes exchange a thousand events and one large one. */
async function exchange(t, url, options) {
  const [a, b] = [await makeOpenSpoke(t, url, options), await makeOpenSpoke(t, url, options)];
  const heard = listenTo(b, 'n:1');
  assert.deepEqual(await within(b.ready('n:1'), 'the subscription'), { acknowledged: true });
  const large = 'ž'.repeat(200_000);
  for (let n = 0; n < 1000; n++) a.dispatchEvent(createEvent('n', '1', n));
  a.dispatchEvent(createEvent('n', '1', large));
  const envelopes = await heard.reaches(1001);
  assert.deepEqual(
    envelopes.map(({ payload }) => payload),
    [...Array.from({ length: 1000 }, (_, n) => n), large],
  );
  await Promise.all([a.close(), b.close()]);
}

describe('a recipe', () => {
  for (const name of names) {
    for (const runtime of runtimes.filter((one) => (runtimesOf[name] ?? ['Node.js']).includes(one.name))) {
      test(`${name} in ${runtime.name}`, async (t) => {
        const command = commandOf(runtime);
        if (command === undefined) return t.skip(`${runtime.name} is not installed for this machine`);
        const { lines, died } = run(t, command, [...runtime.toArgs(permissions), name]);
        const url = await Promise.race([lines.has((line) => line.startsWith('ws:'), 'a URL'), died]);
        // Where another library answers pings, the hub's hello comes behind them: spokes are told that it is native.
        await Promise.race([exchange(t, url, { peer: 'native' }), died]);
      });
    }
    test(`${name} stands in docs/servers.md`, () => {
      const page = readFileSync(new URL('../../docs/servers.md', import.meta.url), 'utf8');
      assert.ok(page.includes(readFileSync(new URL(name, recipes), 'utf8').trim()), `docs/servers.md lacks ${name}`);
    });
  }
});

describe('node:http', () => {
  for (const runtime of runtimes) {
    test(`in ${runtime.name}: sockets are ${handovers[runtime.name]}`, async (t) => {
      const command = commandOf(runtime);
      if (command === undefined) return t.skip(`${runtime.name} is not installed for this machine`);
      const { lines, died } = run(t, command, [...runtime.toArgs(permissions), 'handover.mjs']);
      const url = await Promise.race([lines.has((line) => line.startsWith('ws:'), 'a URL'), died]);
      await Promise.race([exchange(t, url), died]);
      await lines.reaches(5);
      const told = lines.entries.slice(1).sort();
      assert.deepEqual(told, [...Array(2).fill(handovers[runtime.name]), 'gone', 'gone'].sort());
    });
  }
});
