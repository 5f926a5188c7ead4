// Registers the conformance suite with node:test, for one kind of target after the other. The cases are in cases.mjs. In runtimes without
// node:test whoever imports the files of suites collects them instead, in `globalThis.conformanceSuites` and `conformanceCleanUps` (../runtimes/every-target.mjs).
import { casesOf } from './cases.mjs';
import { checkPair, TIMEOUT_MS } from './runner.mjs';

const collected = globalThis.conformanceSuites;
const { suite, test, after: afterAll } = collected === undefined ? await import('node:test') : {};

/** What a file of suites has left to clean up at its end; collected like the suites. */
export function after(cleanUp) {
  if (collected === undefined) afterAll(cleanUp);
  else globalThis.conformanceCleanUps.push(cleanUp);
}

/**
 * Registers the suite for one kind of target.
 * @param {string} name one of those in targets.mjs
 * @param {() => Promise<{ a: object, b: object, close(): Promise<void> }>} makePair both are made new for each test
 * @param {{ transport: boolean, echo: boolean, acknowledges: boolean, small?: boolean }} capabilities
 * @param {{ skip?: string | false }} [options] why the target cannot be had here
 */
export function conformance(name, makePair, capabilities, { skip = false } = {}) {
  if (collected !== undefined) return void collected.push({ name, makePair, capabilities, skip });
  suite(suiteName(name), { timeout: TIMEOUT_MS, skip }, () => {
    for (const [sentence, check] of casesOf(capabilities))
      test(sentence, { timeout: TIMEOUT_MS }, () => checkPair(makePair, check));
  });
}

/** Registers a test that belongs to a file of suites and is none; where they are collected it is left out. */
export function single(sentence, options, check) {
  if (collected === undefined) test(sentence, options, check);
}

/**
 * Registers a suite that runs elsewhere, in a page or in another runtime, by runner.mjs.
 * @param {(t: object) => Promise<{ sentence: string, error?: string }[] | undefined>} runAll undefined: it was skipped
 */
export function conformanceElsewhere(name, options, runAll) {
  test(suiteName(name), options, async (t) => {
    for (const { sentence, error } of (await runAll(t)) ?? [])
      await t.test(sentence, () => {
        if (error !== undefined) throw new Error(error);
      });
  });
}

function suiteName(name) {
  return `conformance of ${name}`;
}
