// Makes PEM text of what a `tls` option may hold: text, bytes or the path of a file.
// Does not parse certificates or keys; the engine does. Never puts their content into a message.

import { readFileSync } from 'node:fs';
import { invalidOption, wrong } from './options.js';

/** PEM text, the bytes of it, or the path of a file that holds it. */
export type Pem = string | Uint8Array;

const PEM_MARK = '-----BEGIN';

export function pemText(name: string, value: Pem | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (value instanceof Uint8Array) return checkPem(name, new TextDecoder().decode(value), 'the bytes given');
  if (typeof value !== 'string' || value === '')
    throw wrong(name, 'PEM text, a Buffer of it or the path of a file', value);
  return value.includes(PEM_MARK) ? value : checkPem(name, readPem(name, value), `the file "${value}"`);
}

function readPem(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw invalidOption(`${name} is no PEM text and cannot be read as a file: ${(error as Error).message}`, error);
  }
}

function checkPem(name: string, text: string, where: string): string {
  if (!text.includes(PEM_MARK))
    throw invalidOption(`${name}: ${where} holds no PEM block; expected a line beginning "${PEM_MARK}"`);
  return text;
}
