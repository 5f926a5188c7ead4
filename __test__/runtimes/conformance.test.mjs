// The conformance suite in Bun and Deno, over a hub at the runtime's own server.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { conformanceElsewhere } from '../conformance/index.mjs';
import { commandOf, root, runtimes } from './runtimes.mjs';

const servers = { Bun: 'Bun.serve', Deno: 'Deno.serve' };
const permissions = ['--allow-ffi', '--allow-net', '--allow-env', '--allow-read'];

for (const runtime of runtimes.filter(({ name }) => name in servers)) {
  const name = `two spokes at a relaying hub: ${servers[runtime.name]} in ${runtime.name}`;
  conformanceElsewhere(name, { timeout: 240_000 }, async (t) => {
    const command = commandOf(runtime);
    if (command === undefined) return void t.skip(`${runtime.name} is not installed for this machine`);
    const args = [...runtime.toArgs(permissions), '__test__/runtimes/conformance.mjs'];
    const child = spawn(command, args, { cwd: root, env: { ...process.env, NO_COLOR: '1' } });
    t.after(() => child.kill('SIGKILL'));
    const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
    const [out, errors, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    assert.equal(code, 0, `${out}${errors}`);
    return JSON.parse(out);
  });
}
