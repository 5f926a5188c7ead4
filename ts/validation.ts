// Checks payloads against the schemas of their types. Does not decide what follows from a mismatch, and keeps nothing.
// Invariants: a schema never throws out of here, what it throws is a mismatch; what is checked is what travels, and what a schema
// makes of it is for the subscriber alone: a payload that was transformed would not match the same schema again.

import { InvalidPayloadError } from './errors.js';
import { describe, invalidOption, wrong } from './options.js';
import type { StandardResult, StandardSchema } from './standard-schema.js';

/** What a schema made of a payload, or the error of one that does not match. */
type Checked = { readonly value: unknown } | InvalidPayloadError;

/** The schemas of a pubsub by type. Types that are not among them are not checked. */
export type Schemas = ReadonlyMap<string, StandardSchema>;

export function readSchemas(schemas: object): Schemas {
  // A `Map` would have no entries here, and nothing would be checked.
  if (!isPlain(schemas)) throw wrong('schemas', 'a plain object of schemas by type', schemas);
  const entries = Object.entries(schemas);
  for (const [type, schema] of entries) {
    if (isSchema(schema)) continue;
    const expected = 'a schema with "~standard" of version 1, as zod, valibot and arktype make them';
    throw invalidOption(`schemas["${type}"] must be ${expected}, got ${describe(schema)}`);
  }
  return new Map(entries);
}

/** What `schema` says of a payload; a promise only where the schema answers with one. */
export function check(schema: StandardSchema, topic: string, payload: unknown): Checked | Promise<Checked> {
  const toChecked = (result: StandardResult<unknown>): Checked =>
    result.issues === undefined ? result : new InvalidPayloadError(topic, result.issues);
  const failed = (cause: unknown): Checked => new InvalidPayloadError(topic, [], { cause });
  try {
    const result = schema['~standard'].validate(payload);
    return 'then' in result ? result.then(toChecked).catch(failed) : toChecked(result);
  } catch (error) {
    return failed(error);
  }
}

/** Throws unless the payload matches. There is no waiting in publish(), so a schema that needs it cannot be used there. */
export function checkNow(schema: StandardSchema, topic: string, payload: unknown): void {
  const checked = check(schema, topic, payload);
  if (checked instanceof Promise)
    throw invalidOption(
      `the schema for "${topic}" answers with a promise, and publish() cannot wait; use one that does not, or validate: "receive"`,
    );
  if (checked instanceof InvalidPayloadError) throw checked;
}

function isPlain(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** Schemas of arktype are functions. */
function isSchema(value: unknown): value is StandardSchema {
  const { version, validate } = Object(Object(value)['~standard']) as Partial<StandardSchema['~standard']>;
  return version === 1 && typeof validate === 'function';
}
