/** The addon's exports; `ts/native.ts` gives them their types. */
declare const addon: unknown;
export = addon;
