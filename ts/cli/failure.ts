// How the commands end: exit codes, and failures whose text says what to do. Does not print.
// Invariant: docs/cli.md lists these codes, and a test compares.

/** Exit codes of every command. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  link: 3,
  unavailable: 4,
  lost: 5,
  interrupted: 130,
} as const;

/** Ends a command with an exit code; the message is for people and says what to do. */
export class CliFailure extends Error {
  readonly exitCode: number;
  readonly code: string;

  constructor(exitCode: number, code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
    this.code = code;
  }
}

/** The user wrote something that is none. */
export function usage(message: string): CliFailure {
  return new CliFailure(exitCodes.usage, 'ERR_INVALID_OPTION', message);
}

/** What to do about errors of links, in one line each; docs/errors.md says more. */
const remedies: Readonly<Record<string, string>> = {
  ERR_CONNECT: 'Is the hub running there, and are host and port right? --wait tries until it is.',
  ERR_HANDSHAKE: 'Something else than a hub answers there: check host, port and path.',
  ERR_NOT_IDENTIFIED: 'Set ALKPUBSUB_TOKEN to the token of the hub; for Redis put user and password into the URL.',
  ERR_FORBIDDEN: 'The other end does not permit this: ask its owner for the right.',
  ERR_TLS: 'Give the authority of the certificate with --ca FILE.',
  ERR_TIMED_OUT: 'Nobody answered in time: check address, port and firewall ("alkpubsub doctor WHERE").',
  ERR_LISTEN: 'Choose another port (0 is a free one), and an address that this machine has.',
};

/** What is said in the place of messages that speak of options in JavaScript. */
const instead: Readonly<Record<string, string>> = {
  ERR_NO_AUTHORIZE:
    'other machines could reach this hub, and nobody would be asked who they are\nSet ALKPUBSUB_TOKEN, name peers with --allow, or say --anyone and mean it.',
};

/** Codes of errors that are about a link, not about this program. */
const ofLinks: ReadonlySet<string> = new Set([
  'ERR_CONNECT',
  'ERR_CONNECTION_LOST',
  'ERR_CLOSED',
  'ERR_FORBIDDEN',
  'ERR_HANDSHAKE',
  'ERR_LIMIT',
  'ERR_NOT_IDENTIFIED',
  'ERR_NO_HELLO',
  'ERR_PROTOCOL',
  'ERR_REFUSED',
  'ERR_SLOW_CONSUMER',
  'ERR_TIMED_OUT',
  'ERR_TLS',
]);

/** Whatever was thrown, as a failure with a code and, where one is known, what to do. */
export function toFailure(error: unknown): CliFailure {
  if (error instanceof CliFailure) return error;
  const { name, code: given, message = String(error) } = Object(error) as Partial<Error> & { code?: unknown };
  const code = name === 'TimeoutError' ? 'ERR_TIMED_OUT' : typeof given === 'string' ? given : 'ERR_INTERNAL';
  const text = instead[code] ?? (remedies[code] === undefined ? message : `${message}\n${remedies[code]}`);
  const options = { cause: error };
  if (code === 'ERR_NATIVE_UNAVAILABLE') return new CliFailure(exitCodes.unavailable, code, message, options);
  if (code === 'ERR_INVALID_OPTION' || code === 'ERR_INVALID_ID' || code === 'ERR_INVALID_TOPIC')
    return new CliFailure(exitCodes.usage, code, message, options);
  return new CliFailure(ofLinks.has(code) ? exitCodes.link : exitCodes.failed, code, text, options);
}
