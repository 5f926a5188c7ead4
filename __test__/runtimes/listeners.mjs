// Our listener table against the EventTarget of the runtime that this runs in. Run by listeners.test.mjs; the argument is the seed.
import { compareWithRuntime, compareWithStandard } from '../core/listeners-random.mjs';

const seed = Number(process.argv[2]);
compareWithRuntime(seed);
compareWithStandard(seed);
console.log(`listeners alike, SEED=${seed}`);
