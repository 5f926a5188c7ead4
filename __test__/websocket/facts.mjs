// Waiting for facts: an event, a state, a number of entries. Everything here gives up with a sentence instead of hanging.

/** A fact that has not come after so long will not come; generous, for a busy machine and a debug build. */
export const PATIENCE_MS = 15_000;

/** The promise, or a failure that says what was waited for. */
export async function within(promise, what, patienceMs = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    const error = new Error(`not within ${patienceMs} ms: ${what}`);
    timer = setTimeout(() => reject(error), patienceMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `check` gives something true, and gives it back; for facts that no event tells. `what` may be a function: asked at the end. */
export async function eventually(check, what, patienceMs = PATIENCE_MS) {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > deadline)
      throw new Error(`not within ${patienceMs} ms: ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The next event called `name`; the detail of it. */
export function next(target, name, patienceMs = PATIENCE_MS) {
  const heard = new Promise((resolve) => {
    target.addEventListener(name, (event) => resolve(event.detail), { once: true });
  });
  return within(heard, `event "${name}"`, patienceMs);
}

/** One turn of the event loop. */
export function turn() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A list that can be waited for. */
export class Log {
  entries = [];
  #waiting = [];

  push(entry) {
    this.entries.push(entry);
    this.#waiting = this.#waiting.filter(({ isThere, resolve }) => {
      const found = isThere();
      if (found) resolve();
      return !found;
    });
  }

  get length() {
    return this.entries.length;
  }

  /** Waits until there are `count` entries. */
  async reaches(count, patienceMs) {
    await this.#until(
      () => this.length >= count,
      () => `${count} entries, there are ${this.length}`,
      patienceMs,
    );
    return this.entries;
  }

  /** Waits for an entry that `matches`, and gives it back. */
  async has(matches, what = 'an entry', patienceMs = undefined) {
    const text = () => `${what} among ${JSON.stringify(this.entries.slice(-5))}`;
    await this.#until(() => this.entries.some(matches), text, patienceMs);
    return this.entries.find(matches);
  }

  async #until(isThere, what, patienceMs = PATIENCE_MS) {
    if (isThere()) return;
    const there = new Promise((resolve) => this.#waiting.push({ isThere, resolve }));
    await within(there, 'see the cause', patienceMs).catch(() => {
      throw new Error(`not within ${patienceMs} ms: ${what()}`);
    });
  }
}

/** What comes on a topic, as envelopes. */
export function listenTo(target, ...topics) {
  const log = new Log();
  for (const topic of topics) target.addEventListener(topic, (event) => log.push(event.detail));
  return log;
}
