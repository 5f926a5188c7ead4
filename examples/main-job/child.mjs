// What the processes of the main job have in common: messages with the parent, and an end with it. The parent coordinates; events
// travel over the hub alone.

export const topic = { line: 'line:main', end: 'end:main' };

/** Sends the parent a message. */
export const tell = (kind, fields = {}, onSent = () => {}) => process.send({ kind, ...fields }, onSent);

/**
 * Calls `handlers[kind]` for each message of the parent; ends the process when the parent is gone.
 * @param {Record<string, (message: object) => void>} handlers
 */
export function follow(handlers) {
  process.on('message', (message) => handlers[message.kind]?.(message));
  process.on('disconnect', () => process.exit(1));
  // Ctrl-C reaches every process of the terminal; the parent decides what happens then.
  for (const signal of ['SIGINT', 'SIGHUP']) process.on(signal, () => {});
  // The parent is gone, and with it the reader of this output.
  process.stdout.on('error', () => process.exit(1));
}

/** Tells the parent why the job cannot go on; the parent ends everything. */
export const fail = (message) => tell('failed', { message });

/** Tells the parent and leaves: without the channel to the parent nothing but an open target keeps the process alive. */
export function leave(losses) {
  process.removeAllListeners('disconnect');
  tell('stopped', losses, () => process.disconnect());
}

/** Gaps and drops of a target, as it reports them itself; other errors go to the log. */
export function watch(target, name) {
  const losses = { gaps: 0, drops: 0 };
  target.addEventListener('gap', (event) => {
    losses.gaps += 1;
    losses.drops += event.detail.dropped ?? 0;
  });
  target.addEventListener('error', ({ detail: error }) => {
    if (error.code === 'ERR_BUFFER_FULL') losses.drops += error.dropped;
    else process.stderr.write(`${name}: ${error.code}: ${error.message}\n`);
  });
  target.addEventListener('close', ({ detail }) => {
    if (detail.error !== undefined) fail(`lost its connection for good: ${detail.error.message}`);
  });
  return losses;
}

/** Milliseconds since the epoch, with the fraction that Date.now() lacks. */
export const now = () => performance.timeOrigin + performance.now();
