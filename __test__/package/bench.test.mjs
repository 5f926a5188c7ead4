// `npm run bench` works: tiny rounds of one scenario of each kind, with the addon and the example that tests build. Says nothing about speed.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { contestants } from '../../benchmark/contestants.mjs';
import { peers, scenarios } from '../../benchmark/scenarios.mjs';
import { figures } from '../../benchmark/tables.mjs';
import { fromRoot } from '../../scripts/project.mjs';

const skip = process.platform === 'linux' ? false : 'the harness reads /proc';

/** Few processes, and together all kinds but idle, which opens 5000 connections. */
const tried = {
  'burst-100': 'ours,ws,bare-shared',
  relay: 'ours,socketio',
  'answer-64': 'ours,ws',
  'clients-1': 'ours,socketio',
  'inbound-new': 'ours,ws',
  'in-process-16': 'ours,ours-memory,yoga',
};

for (const [scenario, chosen] of Object.entries(tried)) {
  test(`a round of ${scenario} gives figures for each peer`, { skip }, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'bench-'));
    t.after(() => rm(folder, { recursive: true }));
    const rows = join(folder, 'rows.json');
    const args = [scenario, '--peers', chosen, '--rounds', '1', '--ms', '20', '--rows', rows, '--debug'];
    await promisify(execFile)(process.execPath, [fromRoot('benchmark/main.mjs'), ...args]);
    const played = JSON.parse(await readFile(rows, 'utf8'));
    assert.deepEqual(
      played.map(({ peer }) => peer),
      chosen.split(','),
    );
    for (const row of played) {
      assert.equal(row.scenario, scenario);
      assert.ok(row.perSecond > 0, JSON.stringify(row));
      assert.deepEqual(
        Object.keys(row).filter((key) => !['scenario', 'peer', 'round', 'trips'].includes(key) && !(key in figures)),
        [],
        'figures that no report knows',
      );
    }
  });
}

test('every scenario names a kind and peers that exist', () => {
  for (const [name, { kind, peers: taking }] of Object.entries(scenarios)) {
    assert.ok(kind in contestants, name);
    for (const peer of taking) assert.ok(peer in peers, `${name}: ${peer}`);
  }
});
