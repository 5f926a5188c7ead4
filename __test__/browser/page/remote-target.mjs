// A worker's end of a worker pair, in the hands of a test in the page: the real listeners are in the worker (remote-worker.mjs), copies of
// its events come here. A page may not stand still for an answer, so what is asked of it is done there in order, and errors of misuse
// are not seen: the suite looks for those at the host's end.
import { createMemoryEventTarget, PubSubError } from '@alkdev/pubsub-native';

const lifeCycle = ['open', 'error', 'gap', 'close'];
/** Listener table and life cycle as all targets have them. */
const Base = createMemoryEventTarget().constructor;

class RemoteTarget extends Base {
  #control;
  #pending = new Map();
  #lastToken = 0;
  #state = 'connecting';

  constructor(control) {
    super();
    this.#control = control;
    control.onmessage = ({ data }) => this.#take(data);
  }

  get state() {
    return this.isOver ? super.state : this.#state;
  }

  get bufferedAmount() {
    return 0;
  }

  ready(topic, options) {
    return topic === undefined ? this.#begin('ready') : super.ready(topic, options);
  }

  dispatchEvent(event) {
    if (!this.isOver) this.#control.postMessage({ call: 'dispatch', args: [event.type, event.detail] });
    return true;
  }

  flush() {
    return this.isOver ? Promise.resolve() : this.#begin('flush');
  }

  drain() {
    return this.isOver ? Promise.resolve() : this.#begin('drain');
  }

  firstListener(name) {
    if (!lifeCycle.includes(name)) this.#control.postMessage({ call: 'listen', args: [name] });
  }

  lastListener(name) {
    if (!this.isOver && !lifeCycle.includes(name)) this.#control.postMessage({ call: 'unlisten', args: [name] });
  }

  confirm(topic, { signal } = {}) {
    const answer = this.#begin('ready', topic);
    answer.catch(() => {});
    return signal === undefined ? answer : Promise.race([answer, aborted(signal)]);
  }

  shutDown(closing) {
    this.#begin('close', closing);
  }

  #begin(method, ...args) {
    const token = ++this.#lastToken;
    const answer = new Promise((resolve, reject) => this.#pending.set(token, { resolve, reject }));
    this.#control.postMessage({ begin: method, args, token });
    return answer;
  }

  #take({ event, detail, token, value, error }) {
    if (token !== undefined) {
      const { resolve, reject } = this.#pending.get(token);
      this.#pending.delete(token);
      return error === undefined ? resolve(value) : reject(toError(error));
    }
    if (event === 'open') this.#state = 'open';
    if (event === 'close') return this.ended(detail);
    if (!this.isOver) this.emit(event, event === 'error' ? toError(detail) : detail);
  }
}

function toError({ code, message }) {
  return new PubSubError(code, message);
}

function aborted(signal) {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

/** Starts a worker with its end of a pair. */
export function startRemote() {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL('remote-worker.mjs', import.meta.url), { type: 'module' });
  worker.postMessage({ control: port2 }, [port2]);
  return { worker, target: new RemoteTarget(port1) };
}
