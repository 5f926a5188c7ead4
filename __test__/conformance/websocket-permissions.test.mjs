// The permission matrix over WebSocket, and the table in docs/permissions.md, which is this matrix as it was seen.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { permissionMatrix, runMatrix } from './permissions.mjs';
import { webSocketNet } from './websocket-net.mjs';

permissionMatrix('a WebSocket hub', webSocketNet);

test('docs/permissions.md has the matrix as it is; `npm run permissions` writes it', async () => {
  const page = readFileSync(new URL('../../docs/permissions.md', import.meta.url), 'utf8');
  const seen = (await runMatrix(webSocketNet)).toMarkdown();
  assert.equal(page.slice(page.indexOf('### ')).trim(), seen.trim());
});
