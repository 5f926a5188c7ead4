// Two targets at the Redis of the URL given exchange events and close. Run by redis.test.mjs in Node.js, Deno and Bun, from a folder where the
// package is installed as a user has it. Ends by itself with exit code 0: no call to exit.
import { createEvent } from '@alkdev/pubsub-native';
import { createRedisEventTarget } from '@alkdev/pubsub-native/event-target-redis';

const argv = globalThis.Deno?.args ?? process.argv.slice(2);
const [url] = argv;
const [one, other] = [1, 2].map(() => createRedisEventTarget({ url, prefix: 'smoke:' }));
const heard = [];
const both = new Promise((resolve) => {
  for (const target of [one, other])
    target.addEventListener('greeting:all', ({ detail }) => {
      if (heard.push(detail) === 2) resolve();
    });
});
await Promise.all([one.ready('greeting:all'), other.ready('greeting:all')]);
one.dispatchEvent(createEvent('greeting', 'all', { text: 'gr\u00fc\u00df dich \u{1f600}', big: 2 ** 53 }));
await both;
await Promise.all([one.close(), other.close()]);
console.log(JSON.stringify({ heard, states: [one.state, other.state] }));
