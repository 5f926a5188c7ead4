// A native port without an engine, after docs/decisions/0001: it writes down what it is asked and delivers what a test queues.
// Knows nothing of links: a test plays the engine.

const FIRST_SEEN = 0x80000000;

/** Pairs of the engine towards JavaScript: never 0 (a notice), the low twelve bits are the slot. */
const GENERATION = 4096;

export class FakePort {
  /** Calls in order: `['publish', pair, json]`, `['listen', topic]`, … */
  calls = [];
  /** What the next `publish` and its kin answer, each once; then 0. */
  statuses = [];
  /** At most this many entries per `take`. */
  batch = 512;
  buffered = 0;
  /** How often it was told to bind or connect. */
  begun = 0;
  #onWake;
  #isArmed = false;
  #entries = [];
  #token = 0;
  #interned = 100;

  intern(type, id) {
    this.calls.push(['intern', type, id]);
    return ++this.#interned;
  }

  publish(pair, json) {
    return this.#answer('publish', pair, json);
  }

  publishOnce(type, id, json) {
    return this.#answer('publishOnce', type, id, json);
  }

  listen(topic) {
    this.calls.push(['listen', topic]);
    return this.calls.length;
  }

  unlisten(topic) {
    this.calls.push(['unlisten', topic]);
  }

  begin() {
    this.begun++;
  }

  attach(onWake) {
    this.#onWake = onWake;
    this.#wake();
  }

  take(meta) {
    const taken = this.#entries.splice(0, this.batch);
    this.#isArmed = this.#entries.length > 0;
    meta[0] = taken.length;
    meta[1] = this.#isArmed ? 1 : 0;
    for (const [i, { pair, text, connection }] of taken.entries()) meta.set([pair, text.length, connection], 2 + 3 * i);
    return taken.length === 0 ? '' : `[${taken.map(({ text }) => text).join(',')}]`;
  }

  confirm(topic) {
    return this.#ask('confirm', topic);
  }

  flush() {
    return this.#ask('flush');
  }

  drained() {
    return this.#ask('drained');
  }

  bufferedAmount() {
    return this.buffered;
  }

  stats() {
    return { published: this.of('publish').length };
  }

  address() {
    return { host: '127.0.0.1', port: 1, url: 'ws://127.0.0.1:1/' };
  }

  close(code, reason, timeoutMs) {
    this.calls.push(['close', code, reason, timeoutMs]);
  }

  // What hubs have besides.

  publishTo(connection, pair, json) {
    return this.#answer('publishTo', connection, pair, json);
  }

  publishOnceTo(connection, type, id, json) {
    return this.#answer('publishOnceTo', connection, type, id, json);
  }

  listenTo(connection, topic) {
    this.calls.push(['listenTo', connection, topic]);
  }

  unlistenTo(connection, topic) {
    this.calls.push(['unlistenTo', connection, topic]);
  }

  admit(connection) {
    this.calls.push(['admit', connection]);
  }

  disconnect(connection, code, reason) {
    this.calls.push(['disconnect', connection, code, reason]);
  }

  connectionBufferedAmount(connection) {
    return 1000 + connection;
  }

  connectionStats(connection) {
    return { connection };
  }

  subscribers() {
    return 7;
  }

  // What spokes have besides.

  provide(token, url, headers) {
    this.calls.push(['provide', token, url, headers]);
  }

  decline(token, message) {
    this.calls.push(['decline', token, message]);
  }

  // For tests.

  /** The calls of one method, without its name. */
  of(method) {
    return this.calls.filter(([name]) => name === method).map(([, ...args]) => args);
  }

  /** Queues an event as the engine does when a pair is first seen in its slot. */
  first(slot, type, id, payload, connection = 0) {
    this.entry((FIRST_SEEN | GENERATION | slot) >>> 0, JSON.stringify([type, id, payload]), connection);
  }

  /** Queues another event of the pair in a slot; `text` stands for a payload that is no JSON. */
  again(slot, payload, { connection = 0, text = JSON.stringify(payload) } = {}) {
    this.entry(GENERATION | slot, text, connection);
  }

  notice(notice) {
    this.entry(0, JSON.stringify(notice), 0);
  }

  entry(pair, text, connection) {
    this.#entries.push({ pair, text, connection });
    this.#wake();
  }

  /** Everything queued so far has been taken and delivered. */
  async delivered() {
    while (this.#entries.length > 0) await new Promise(setImmediate);
    await new Promise(setImmediate);
  }

  #wake() {
    if (this.#isArmed || this.#onWake === undefined || this.#entries.length === 0) return;
    this.#isArmed = true;
    setImmediate(this.#onWake);
  }

  #answer(...call) {
    this.calls.push(call);
    return this.statuses.shift() ?? 0;
  }

  #ask(...call) {
    this.calls.push(call);
    return ++this.#token;
  }
}
