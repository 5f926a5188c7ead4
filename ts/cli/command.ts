// What a command is, how its arguments are read, and its help, which follows from its options. Runs nothing.
// Invariant: every command has an example in its help, and every option a line.

import { type ParseArgsConfig, parseArgs } from 'node:util';
import { usage } from './failure.js';
import type { Terminal } from './terminal.js';

interface OptionSpec {
  readonly type: 'boolean' | 'string';
  readonly short?: string;
  /** May be given more than once. */
  readonly multiple?: boolean;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly text: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** The values of options by their names. */
export interface Values {
  flag(name: string): boolean;
  text(name: string): string | undefined;
  texts(name: string): readonly string[];
  /** A whole number from `least` on; a usage failure for anything else. */
  number(name: string, least: number, most: number): number | undefined;
}

/** What a running command has to do with the outside. */
export interface Context {
  readonly positionals: readonly string[];
  readonly values: Values;
  readonly terminal: Terminal;
  /** Aborted by SIGINT and SIGTERM, and when nobody reads standard output any more. */
  readonly stop: AbortSignal;
}

export interface Command {
  readonly name: string;
  /** Positional arguments as in the usage line. */
  readonly takes: string;
  readonly summary: string;
  readonly options: OptionSpecs;
  readonly notes?: readonly string[];
  readonly examples: readonly (readonly [command: string, text: string])[];
  /** The exit code, or a rejection. */
  run(context: Context): Promise<number>;
}

const common: OptionSpecs = {
  json: { type: 'boolean', text: 'one JSON object per line on standard output, errors included' },
  help: { type: 'boolean', short: 'h', text: 'this help' },
};

/** Reads the arguments behind the name of a command. */
export function readArguments(command: Command, args: readonly string[]): { positionals: string[]; values: Values } {
  const specs = Object.entries({ ...command.options, ...common });
  const options = Object.fromEntries(
    specs.map(([name, { type, short, multiple = false }]) => [name, { type, multiple, ...(short && { short }) }]),
  );
  const config = { args: [...args], options, allowPositionals: true, strict: true } satisfies ParseArgsConfig;
  const { positionals, values } = parse(command, config);
  return { positionals, values: reader(values) };
}

function parse(command: Command, config: ParseArgsConfig) {
  try {
    return parseArgs(config) as { positionals: string[]; values: Record<string, unknown> };
  } catch (error) {
    throw usage(`${(error as Error).message}\nRun "alkpubsub ${command.name} --help" for the options.`);
  }
}

function reader(values: Record<string, unknown>): Values {
  const text = (name: string): string | undefined => values[name] as string | undefined;
  return {
    flag: (name) => values[name] === true,
    text,
    texts: (name) => (values[name] as string[] | undefined) ?? [],
    number(name, least, most) {
      const given = text(name);
      if (given === undefined) return undefined;
      const number = Number(given);
      if (given.trim() === '' || !Number.isInteger(number) || number < least || number > most)
        throw usage(`--${name} must be a whole number from ${least} to ${most}, got "${given}"`);
      return number;
    },
  };
}

export function helpOf(command: Command): string {
  const rows = Object.entries({ ...command.options, ...common }).map(([name, { type, value, text, multiple }]) => [
    type === 'string' ? `--${name} ${value ?? 'TEXT'}${multiple ? ' …' : ''}` : `--${name}`,
    text,
  ]);
  return [
    `usage: alkpubsub ${[command.name, command.takes].join(' ').trim()} [options]`,
    '',
    command.summary,
    '',
    ...table(rows as [string, string][]),
    ...(command.notes === undefined ? [] : ['', ...command.notes]),
    '',
    'examples:',
    ...command.examples.flatMap(([example, text]) => [`  # ${text}`, `  ${example}`]),
  ].join('\n');
}

export function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([first]) => first.length));
  return rows.map(([first, second]) => `  ${first.padEnd(width)}  ${second}`);
}
