// Standard Schema (https://standardschema.dev), version 1: the part of it that is used here. Types only.
// Does not know zod, valibot, arktype: whatever has "~standard" will do.
// Invariant: a `StandardSchemaV1` of @standard-schema/spec can be used wherever a StandardSchema is asked for (__test__/types holds it).

/** What a schema says about one thing that is wrong. */
export interface StandardIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema makes of a value: the value, transformed perhaps, or what is wrong with it. */
export type StandardResult<TOutput> =
  | { readonly value: TOutput; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] };

/** A schema of any library that keeps to Standard Schema: zod, valibot, arktype and others. */
export interface StandardSchema<TInput = unknown, TOutput = TInput> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<TOutput> | Promise<StandardResult<TOutput>>;
    readonly types?: { readonly input: TInput; readonly output: TOutput } | undefined;
  };
}

/** Schemas by event type. */
export type SchemaMap = Readonly<Record<string, StandardSchema>>;

/** The event map of what is published: what the schemas take. */
export type InputsOf<TSchemas extends SchemaMap> = {
  [TType in keyof TSchemas & string]: NonNullable<TSchemas[TType]['~standard']['types']>['input'];
};

/** The event map of what subscribers get: what the schemas make of it. */
export type OutputsOf<TSchemas extends SchemaMap> = {
  [TType in keyof TSchemas & string]: NonNullable<TSchemas[TType]['~standard']['types']>['output'];
};
