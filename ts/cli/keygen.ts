// `keygen`: makes a file with the key of an Iroh endpoint, or says whose key a file has. Never prints a key.

import { existsSync } from 'node:fs';
import type { Command, Context } from './command.js';
import { CliFailure, exitCodes, usage } from './failure.js';

export const keygen: Command = {
  name: 'keygen',
  takes: 'FILE',
  summary: 'Makes a file with a new key for Iroh, readable by you alone, and prints its id.',
  options: { show: { type: 'boolean', text: 'make nothing: print the id of the key that the file has' } },
  notes: [
    'The file is never written over. Two endpoints with one key at the same time are one identity: do not copy it.',
  ],
  examples: [
    ['alkpubsub keygen node.key', 'a new key'],
    ['alkpubsub keygen node.key --show', 'its id again'],
  ],
  async run({ positionals, values, terminal }: Context) {
    const [file, ...rest] = positionals;
    if (file === undefined || rest.length > 0) throw usage('say which file: alkpubsub keygen node.key');
    const isThere = existsSync(file);
    if (isThere && !values.flag('show'))
      throw new CliFailure(
        exitCodes.failed,
        'ERR_INVALID_OPTION',
        `${file} is there already: choose another name, or --show`,
      );
    if (!isThere && values.flag('show'))
      throw new CliFailure(exitCodes.failed, 'ERR_INVALID_OPTION', `there is no ${file}: make it without --show`);
    const { Endpoint } = await import('../iroh.js');
    const endpoint = await Endpoint.createWithOptions({ keyFile: file, bind: '127.0.0.1:0' });
    const id = endpoint.nodeId();
    await endpoint.close();
    terminal.result(id, { event: 'key', file, id, isNew: !isThere });
    return exitCodes.done;
  },
};
