// Runs the same random steps on ours and on another EventTarget and compares what listeners saw. Without a test runner, so that it
// runs in every runtime: listeners-random.test.mjs, ../runtimes/listeners.mjs.
import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { TableEventTarget } from '../../dist/event-target.js';
import { randomFrom } from './random.mjs';

const NAMES = ['a:1', 'b:2'];
const CALLBACKS = 6;

// Without Node's warning of a leak at eleven listeners.
function makeRuntimeTarget() {
  const target = new EventTarget();
  setMaxListeners(0, target);
  return target;
}

function makeController() {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

/** One world: a target with named callbacks that act on it while it dispatches. */
function makeWorld(target, script) {
  const log = [];
  const controllers = Array.from({ length: 3 }, makeController);
  let depth = 0;
  const callbacks = Array.from({ length: CALLBACKS }, (_, index) => {
    const called = (event) => {
      log.push(`${event.type}>${index}@${depth}`);
      const reaction = script.reactions[index];
      if (reaction.stops) event.stopImmediatePropagation();
      depth++;
      // Bounded: additions by additions would never end.
      if (depth < 3 && log.length < 500) for (const step of reaction.steps) perform(step);
      depth--;
    };
    return index % 2 === 0 ? called : { handleEvent: called };
  });
  // A listener of its own each time: Node lets a signal remove whatever is registered by the same name and callback later on,
  // where the DOM standard (and we) remove the one that was added with the signal.
  function addWithSignal({ name, callback, capture, once, signal }) {
    const act = callbacks[callback];
    const own = (event) => (typeof act === 'function' ? act(event) : act.handleEvent(event));
    target.addEventListener(name, own, { capture, once, signal: controllers[signal].signal });
  }
  function perform(step) {
    const callback = callbacks[step.callback];
    const { capture, once } = step;
    if (step.kind === 'add' && step.signal !== undefined) addWithSignal(step);
    else if (step.kind === 'add') target.addEventListener(step.name, callback, { capture, once });
    else if (step.kind === 'remove') target.removeEventListener(step.name, callback, { capture });
    else if (step.kind === 'abort') {
      controllers[step.controller].abort();
      controllers[step.controller] = makeController();
    } else log.push(`=${target.dispatchEvent(new CustomEvent(step.name))}`);
  }
  return { perform, log };
}

function makeStep(random, kinds) {
  return {
    kind: kinds[random(kinds.length)],
    name: NAMES[random(NAMES.length)],
    callback: random(CALLBACKS),
    capture: random(4) === 0,
    once: random(4) === 0,
    signal: random(3) === 0 ? random(3) : undefined,
    controller: random(3),
  };
}

function compare(seed, makeTheirs, insideKinds, isCaptureFree) {
  const random = randomFrom(seed);
  const makeOne = (kinds) => {
    const step = makeStep(random, kinds);
    return isCaptureFree ? { ...step, capture: false } : step;
  };
  for (let round = 0; round < 400; round++) {
    const reactions = Array.from({ length: CALLBACKS }, () => ({
      stops: random(8) === 0,
      steps: Array.from({ length: random(3) }, () => makeOne(insideKinds)),
    }));
    const steps = Array.from({ length: 40 }, () =>
      makeOne(['add', 'add', 'add', 'remove', 'abort', 'dispatch', 'dispatch']),
    );
    const theirs = makeWorld(makeTheirs(), { reactions });
    const ours = makeWorld(new TableEventTarget(), { reactions });
    for (const step of steps) {
      theirs.perform(step);
      ours.perform(step);
    }
    assert.deepEqual(ours.log, theirs.log, `round ${round}, SEED=${seed}`);
  }
}

/** Node calls a listener that was added to the event under way behind one that still waits; the standard, Deno and Bun do not. */
function callsAddedListeners() {
  const target = new EventTarget();
  let isCalled = false;
  target.addEventListener('x', () => target.addEventListener('x', () => (isCalled = true)));
  target.addEventListener('x', () => {});
  target.dispatchEvent(new Event('x'));
  return isCalled;
}

/** The standard and Bun walk capturing listeners in a phase of their own: what that phase adds, the second one calls. Ours has one. */
function hasTwoPhases() {
  const target = new EventTarget();
  let first;
  target.addEventListener('x', () => (first ??= 'other'));
  target.addEventListener('x', () => (first ??= 'capture'), true);
  target.dispatchEvent(new Event('x'));
  return first === 'capture';
}

/** The DOM standard's algorithms word by word, as far as a target without parents needs them: slow and plain. */
class StandardTarget {
  #listeners = [];

  addEventListener(type, callback, { capture, once, signal }) {
    const added = { type, callback, capture, once, isRemoved: false };
    if (signal?.aborted || this.#find(added)) return;
    this.#listeners.push(added);
    signal?.addEventListener('abort', () => this.#remove(added));
  }

  removeEventListener(type, callback, { capture }) {
    const found = this.#find({ type, callback, capture });
    if (found) this.#remove(found);
  }

  dispatchEvent(event) {
    let isStopped = false;
    event.stopImmediatePropagation = () => (isStopped = true);
    for (const listener of [...this.#listeners]) {
      if (listener.isRemoved || isStopped || listener.type !== event.type) continue;
      if (listener.once) this.#remove(listener);
      if (typeof listener.callback === 'function') listener.callback(event);
      else listener.callback.handleEvent(event);
    }
    return true;
  }

  #find({ type, callback, capture }) {
    return this.#listeners.find((it) => it.type === type && it.callback === callback && it.capture === capture);
  }

  #remove(listener) {
    listener.isRemoved = true;
    this.#listeners = this.#listeners.filter((it) => it !== listener);
  }
}

/** Throws where a step looks otherwise than on the runtime's own EventTarget. */
export function compareWithRuntime(seed) {
  const inside = ['remove', 'remove', 'abort', 'dispatch'];
  compare(seed, makeRuntimeTarget, callsAddedListeners() ? inside : ['add', 'add', ...inside], hasTwoPhases());
}

/** Throws where a step, additions while dispatching among them, looks otherwise than the DOM standard says. */
export function compareWithStandard(seed) {
  const inside = ['add', 'add', 'remove', 'remove', 'abort', 'dispatch'];
  compare(seed, () => new StandardTarget(), inside, true);
}
