// A worker of a page with its end of a pair, which does what the page says (remote-target.mjs). The port comes with the first message.
import { createWorkerThreadEventTarget } from '/dist/event-target-worker.js';

const lifeCycle = ['open', 'error', 'gap', 'close'];
const target = createWorkerThreadEventTarget();
/** What happened before the port came. */
const early = [];
let say = (message) => early.push(message);

const forward = ({ type, detail }) => say({ event: type, detail: plain(detail) });
for (const event of lifeCycle) target.addEventListener(event, forward);

addEventListener('message', function first({ data }) {
  if (data.control === undefined) return;
  removeEventListener('message', first);
  const { control } = data;
  control.onmessage = (message) => obey(message.data);
  say = (message) => control.postMessage(message);
  for (const message of early.splice(0)) say(message);
});

const calls = {
  listen: (topic) => target.addEventListener(topic, forward),
  unlisten: (topic) => target.removeEventListener(topic, forward),
  dispatch: (type, detail) => target.dispatchEvent(new CustomEvent(type, { detail })),
};

async function obey({ call, begin, args, token }) {
  if (call !== undefined) return calls[call](...args);
  try {
    say({ token, value: await target[begin](...args) });
  } catch (error) {
    say({ token, error: plain(error) });
  }
}

/** Errors lose their codes between threads. */
function plain(value) {
  return value instanceof Error ? { name: value.name, code: value.code, message: value.message } : value;
}
