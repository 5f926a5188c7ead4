#!/usr/bin/env node
// The command line: picks a command, runs it, and turns its end into an exit code. Does not know what commands do.
// Invariants: SIGINT and SIGTERM end a command in order, a second one at once; a reader that goes away ends it without a complaint.

import { createRequire } from 'node:module';
import { type Command, helpOf, readArguments, table } from './command.js';
import { doctor } from './doctor.js';
import { exitCodes, toFailure, usage } from './failure.js';
import { hub } from './hub.js';
import { keygen } from './keygen.js';
import { pub } from './pub.js';
import { sub } from './sub.js';
import { Terminal } from './terminal.js';

const commands: readonly Command[] = [hub, sub, pub, keygen, doctor];

const general = [
  'usage: alkpubsub COMMAND [arguments] [options]',
  '',
  'Publish and subscribe between processes, over WebSocket, Redis and Iroh.',
  '',
  ...table(commands.map(({ name, takes, summary }) => [`${name} ${takes}`.trim(), summary])),
  '',
  ...table([
    ['--help, -h', 'this help; behind a command: its options and examples'],
    ['--version', 'the version of the package'],
    ['--json', 'behind a command: one JSON object per line'],
  ]),
  '',
  'exit codes: 0 done, 1 failed, 2 wrong usage, 3 no connection or lost, 4 no addon for this platform,',
  '            5 events may be lost, 130 interrupted before the end',
  '',
  'example:',
  '  alkpubsub hub &',
  '  alkpubsub sub ws://127.0.0.1:8080 chat.msg:room1 &',
  '  alkpubsub pub ws://127.0.0.1:8080 chat.msg:room1 hello',
].join('\n');

async function main(args: readonly string[]): Promise<number> {
  const terminal = new Terminal(args.includes('--json') && args.indexOf('--json') < endOfOptions(args));
  const code = await perform(args, terminal);
  const error = await terminal.written();
  if (error === undefined) return code;
  process.stderr.write(`error: standard output: ${error.message}\n`);
  return exitCodes.failed;
}

async function perform([name, ...rest]: readonly string[], terminal: Terminal): Promise<number> {
  const stop = stopSignal(terminal);
  try {
    if (name === '--version') return say(terminal, version());
    const isHelp = name === '--help' || name === '-h' || name === 'help';
    const command = commands.find((known) => known.name === (isHelp ? rest[0] : name));
    if (isHelp) return say(terminal, command === undefined ? general : helpOf(command));
    if (command === undefined) throw unknown(name);
    const { positionals, values } = readArguments(command, rest);
    if (values.flag('help')) return say(terminal, helpOf(command));
    return await command.run({ positionals, values, terminal, stop });
  } catch (error) {
    const { code, message, exitCode } = toFailure(error);
    if (terminal.gone.aborted) return exitCodes.done;
    if (stop.aborted && (error === stop.reason || code === 'ERR_CLOSED')) return exitCodes.interrupted;
    terminal.failure(code, message);
    return exitCode;
  }
}

function endOfOptions(args: readonly string[]): number {
  const end = args.indexOf('--');
  return end < 0 ? args.length : end;
}

function say(terminal: Terminal, text: string): number {
  terminal.result(text, { event: 'text', text });
  return exitCodes.done;
}

function version(): string {
  return (createRequire(import.meta.url)('../../package.json') as { version: string }).version;
}

function unknown(name: string | undefined) {
  const names = commands.map((command) => command.name).join(', ');
  const isOption = name?.startsWith('-') === true;
  const what =
    name === undefined
      ? 'a command is missing'
      : isOption
        ? `a command comes before "${name}"`
        : `"${name}" is no command`;
  return usage(`${what}; known are ${names}\nRun "alkpubsub --help".`);
}

/** Aborted by the first signal; the second one ends the process. */
function stopSignal(terminal: Terminal): AbortSignal {
  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (stop.signal.aborted) process.exit(exitCodes.interrupted);
      stop.abort();
    });
  }
  return AbortSignal.any([stop.signal, terminal.gone]);
}

// Standard output is written to its end before the process ends by itself.
process.exitCode = await main(process.argv.slice(2));
