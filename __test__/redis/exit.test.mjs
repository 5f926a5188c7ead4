// When a process with a Redis target ends, what the engine tells of it, and workers that are terminated with one.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { eventually, listenTo, within } from '../websocket/facts.mjs';
import { makeTarget } from './facts.mjs';
import { startRedis, withoutRedis } from './server.mjs';

const fixture = fileURLToPath(new URL('fixtures/exits.mjs', import.meta.url));
const options = { skip: withoutRedis, concurrency: 1 };
const deadUrl = 'redis://127.0.0.1:1';

function start(t, which, url) {
  const child = spawn(process.execPath, [fixture, which, url], { stdio: ['ignore', 'pipe', 'pipe'] });
  const run = { stdout: '', stderr: '', ended: once(child, 'exit').then(([code, signal]) => signal ?? code) };
  child.stdout.setEncoding('utf8').on('data', (text) => (run.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (run.stderr += text));
  t.after(() => child.kill('SIGKILL'));
  return run;
}

describe('a process ends by itself with code 0', options, () => {
  for (const which of [
    'it was closed',
    'it was closed before it was open',
    'it is open and unref',
    'exit is called in a listener',
  ]) {
    test(`when ${which}`, async (t) => {
      const server = await startRedis(t);
      const run = start(t, which, server.url);
      assert.equal(await within(run.ended, 'the end of the process'), 0, run.stderr);
      assert.equal(run.stderr, '');
    });
  }

  for (const which of ['exit is called right behind close()', 'exit is called right behind flush()']) {
    test(`when ${which}, and everything dispatched before it arrives`, async (t) => {
      const server = await startRedis(t);
      const reader = makeTarget(t, server);
      const heard = listenTo(reader, 'a:');
      await reader.ready('a:');
      const run = start(t, which, server.url);
      assert.equal(await within(run.ended, 'the end of the process'), 0, run.stderr);
      await heard.reaches(5000);
    });
  }
});

describe('a process goes on', options, () => {
  for (const [which, url] of [
    ['it is open', undefined],
    ['it cannot connect', deadUrl],
  ]) {
    test(`while ${which}`, async (t) => {
      const server = await startRedis(t);
      const run = start(t, which, url ?? server.url);
      await eventually(() => run.stdout.includes('open'), 'it is there');
      const still = Symbol('still running');
      assert.equal(await Promise.race([run.ended, new Promise((resolve) => setTimeout(resolve, 300, still))]), still);
    });
  }
});

test('workers terminated with an open target leave nothing at the server', options, async (t) => {
  const server = await startRedis(t);
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    (async () => {
      const { createEvent } = await import('@alkdev/pubsub-native');
      const { createRedisEventTarget } = await import('@alkdev/pubsub-native/event-target-redis');
      const target = createRedisEventTarget({ url: workerData });
      target.addEventListener('a:', () => {});
      await target.ready('a:');
      parentPort.postMessage('open');
      setInterval(() => { for (let n = 0; n < 1000; n++) target.dispatchEvent(createEvent('a', '', n)); }, 1);
    })();`;
  for (let round = 0; round < 10; round++) {
    const worker = new Worker(source, { eval: true, workerData: server.url });
    await once(worker, 'message');
    await worker.terminate();
  }
  await eventually(async () => {
    const clients = (await server.command('CLIENT', 'LIST')).trim().split('\n');
    return clients.length === 1;
  }, 'every connection is gone');
  await eventually(() => descriptors() <= before + 2, 'no descriptor is left');
});

test('ALKPUBSUB_LOG tells of connections, refusals and losses, and of no secret', options, async (t) => {
  const server = await startRedis(t, '--requirepass', 's3cret-password');
  const program = `
    import { createEvent } from '@alkdev/pubsub-native';
    import { createRedisEventTarget } from '@alkdev/pubsub-native/event-target-redis';
    const target = createRedisEventTarget({ url: ${JSON.stringify(server.url.replace('//', '//:s3cret-password@'))} });
    target.addEventListener('a:', () => {});
    await target.ready('a:');
    target.dispatchEvent(createEvent('a', '', 's3cret-payload'));
    await target.close();
    const wrong = createRedisEventTarget({ url: ${JSON.stringify(server.url)}, password: 's3cret-wrong' });
    wrong.addEventListener('error', () => {});
    await wrong.closed;
  `;
  const { NODE_DEBUG: _, ...rest } = process.env;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: new URL('../..', import.meta.url),
    encoding: 'utf8',
    env: { ...rest, ALKPUBSUB_LOG: 'trace' },
  });
  assert.equal(status, 0, stderr);
  for (const line of ['redis: dialing', 'spoke: open', 'spoke: reconnecting', 'spoke: closed'])
    assert.match(stderr, new RegExp(`alkpubsub::${line}`));
  assert.doesNotMatch(stderr, /s3cret/);
});
