// What the processes of a run have in common: messages with the parent, an end with it, and a steady pace.
// Events travel over the hub alone; messages are for coordination.

/** Sends the parent a message. */
export const tell = (kind, fields = {}, onSent = () => {}) => process.send({ kind, ...fields }, onSent);

/** Calls `handlers[kind]` for each message of the parent; ends the process when the parent is gone. */
export function follow(handlers) {
  process.on('message', (message) => handlers[message.kind]?.(message));
  process.on('disconnect', () => process.exit(1));
  // Ctrl-C reaches every process of the terminal; the parent decides what happens then.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});
}

/** Errors and ends that a run does not expect of `target`; what `isExpected` says so is not told. */
export function watch(target, name, isExpected = () => false) {
  target.addEventListener('error', ({ detail }) => {
    if (!isExpected(detail)) tell('trouble', { text: `${name}: ${detail.code}: ${detail.message}` });
  });
  target.addEventListener('close', ({ detail }) => {
    if (detail.error !== undefined) tell('trouble', { text: `${name} ended: ${detail.error.message}` });
  });
}

const TICK_MS = 5;
/** A publisher that was held up makes up for so much, in milliseconds, and no more: it is to be steady, not a flood. */
const MAX_LAG_MS = 50;

/** Calls `publish` at `perSecond`, until it says that it is done. */
export function pace(perSecond, publish) {
  let last = performance.now();
  let owed = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    owed += (Math.min(now - last, MAX_LAG_MS) * perSecond) / 1000;
    last = now;
    for (; owed >= 1; owed--) {
      if (!publish()) {
        clearInterval(timer);
        return;
      }
    }
  }, TICK_MS);
  return () => clearInterval(timer);
}
