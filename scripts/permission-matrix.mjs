// Writes the table of docs/permissions.md: the permission matrix as a hub over WebSocket shows it. Does not judge it; the tests do.
// Usage: node scripts/permission-matrix.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { build } from './build.mjs';
import { fromRoot } from './project.mjs';
import { say, whenStarted } from './run.mjs';

whenStarted(import.meta.url, async () => {
  build();
  const { runMatrix } = await import('../__test__/conformance/permissions.mjs');
  const { webSocketNet } = await import('../__test__/conformance/websocket-net.mjs');
  const matrix = await runMatrix(webSocketNet);
  const path = fromRoot('docs/permissions.md');
  const page = readFileSync(path, 'utf8');
  writeFileSync(path, `${page.slice(0, page.indexOf('### '))}${matrix.toMarkdown()}`);
  say(`docs/permissions.md: ${matrix.cells.length} cells, ${matrix.wrong.length} not as expected`);
  if (matrix.wrong.length > 0) process.exitCode = 1;
});
