// The conformance suite in the runtime that runs this, Bun or Deno, over a hub at its own server: prints the results as one JSON object.
// Run from the folder of the project by conformance.test.mjs.
import { casesOf } from '../conformance/cases.mjs';
import { runCases } from '../conformance/runner.mjs';
import { makePair } from './own-server.mjs';

const results = await runCases(casesOf({ transport: true, echo: false, acknowledges: true }), makePair);
console.log(JSON.stringify(results));
