// A target that lives in a worker thread, in the hands of a test of this thread: the real listeners are there, copies of its events come
// here. What is asked of it is done there before the call returns; what takes time comes back in its place among the events.
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { createMemoryEventTarget, PubSubError } from '../../dist/index.js';

const fixture = new URL('fixtures/remote.mjs', import.meta.url);
const lifeCycle = ['open', 'error', 'gap', 'close'];
/** Listener table and life cycle as all targets have them. */
const Base = createMemoryEventTarget().constructor;

class RemoteTarget extends Base {
  #control;
  #flag;
  #pending = new Map();
  #late = [];
  #lastToken = 0;

  constructor(control, flag) {
    super();
    this.#control = control;
    this.#flag = flag;
    control.on('message', (message) => {
      this.#catchUp();
      this.#take(message);
    });
  }

  /** Does it there, now. */
  call(name, ...args) {
    Atomics.store(this.#flag, 0, 0);
    this.#control.postMessage({ call: name, args });
    // Again and again: a notification may be that of the call before.
    while (Atomics.load(this.#flag, 0) === 0) Atomics.wait(this.#flag, 0, 0);
    for (;;) {
      const { message } = receiveMessageOnPort(this.#control);
      if (!('reply' in message)) {
        this.#late.push(message);
        continue;
      }
      if (this.#late.length > 0) setImmediate(() => this.#catchUp());
      const { value, error } = message.reply;
      if (error !== undefined) throw toError(error);
      return value;
    }
  }

  /** Begins it there. */
  begin(method, ...args) {
    const token = ++this.#lastToken;
    const answer = new Promise((resolve, reject) => this.#pending.set(token, { resolve, reject }));
    this.#control.postMessage({ begin: method, args, token });
    return answer;
  }

  dispatchEvent(event) {
    return this.isOver || this.call('dispatch', event.type, event.detail);
  }

  get bufferedAmount() {
    return this.isOver ? 0 : this.call('get', 'bufferedAmount');
  }

  flush() {
    return this.isOver ? Promise.resolve() : this.begin('flush');
  }

  drain() {
    return this.isOver ? Promise.resolve() : this.begin('drain');
  }

  stats() {
    return this.call('stats');
  }

  firstListener(name) {
    if (!lifeCycle.includes(name)) this.call('listen', name);
  }

  lastListener(name) {
    if (!this.isOver && !lifeCycle.includes(name)) this.call('unlisten', name);
  }

  confirm(topic, { signal } = {}) {
    const answer = this.begin('ready', topic);
    answer.catch(() => {});
    return signal === undefined ? answer : Promise.race([answer, aborted(signal)]);
  }

  shutDown(closing) {
    this.begin('close', closing);
  }

  #catchUp() {
    for (const message of this.#late.splice(0)) this.#take(message);
  }

  #take({ event, detail, token, value, error }) {
    if (token !== undefined) {
      const { resolve, reject } = this.#pending.get(token);
      this.#pending.delete(token);
      return error === undefined ? resolve(value) : reject(toError(error));
    }
    if (event === 'close') return this.ended(detail);
    if (!this.isOver) this.emit(event, event === 'error' ? toError(detail) : detail);
  }
}

function toError({ name, code, message }) {
  return name === 'TypeError' ? Object.assign(new TypeError(message), { code }) : new PubSubError(code, message);
}

function aborted(signal) {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

/**
 * Starts a worker with a target of a kind: "worker" (its end of a worker pair) or "process" (a member of the bus called `name`).
 * @param {{ kind: 'worker' | 'process', name?: string }} options
 */
export function startRemote({ kind, name = '' }) {
  const { port1, port2 } = new MessageChannel();
  const flag = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(fixture, { workerData: { kind, name, control: port2, flag }, transferList: [port2] });
  const target = new RemoteTarget(port1, flag);
  const close = async () => {
    await worker.terminate();
    port1.close();
  };
  return { worker, target, close };
}
