// The listener table against contract section 2 "Listeners". Seen from outside: through TableEventTarget and the memory target.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TableEventTarget } from '../../dist/event-target.js';
import { createEvent } from '../../dist/index.js';
import { uncaughtDuring } from '../conformance/uncaught.mjs';

/** A table that writes down when interest in a name begins and ends. */
class WatchedTarget extends TableEventTarget {
  interest = [];

  firstListener(name) {
    this.interest.push(`+${name}`);
  }

  lastListener(name) {
    this.interest.push(`-${name}`);
  }
}

const event = () => createEvent('chat.msg', 'r1', { n: 1 });
const TOPIC = 'chat.msg:r1';

test('a target is an EventTarget and an event of ours is a CustomEvent', () => {
  assert(new TableEventTarget() instanceof EventTarget);
  assert(event() instanceof CustomEvent);
});

test('a listener is called with the event that was dispatched, its target and currentTarget right, and this the target', () => {
  const target = new TableEventTarget();
  const dispatched = event();
  const seen = [];
  target.addEventListener(TOPIC, function listener(got) {
    seen.push([got, this, got.target, got.currentTarget, got.eventPhase, got.composedPath()]);
  });
  assert.equal(target.dispatchEvent(dispatched), true);
  assert.deepEqual(seen, [[dispatched, target, target, target, 2, [target]]]);
  assert.equal(dispatched.target, target);
  assert.equal(dispatched.currentTarget, null);
  assert.equal(dispatched.eventPhase, 0);
});

test('an event that users made themselves has the right target, too, and can be stopped and dispatched again', () => {
  class Own extends CustomEvent {
    extra = 5;
  }
  const target = new TableEventTarget();
  const other = new TableEventTarget();
  const seen = [];
  target.addEventListener('x', (got) => {
    seen.push(got.target === target, got.currentTarget === target, got.extra);
    got.stopImmediatePropagation();
  });
  target.addEventListener('x', () => seen.push('never'));
  other.addEventListener('x', (got) => seen.push(got.target === other));
  const own = new Own('x');
  target.dispatchEvent(own);
  target.dispatchEvent(own);
  other.dispatchEvent(own);
  assert.deepEqual(seen, [true, true, 5, true, true, 5, true]);
  assert.equal(own.currentTarget, null);
});

test('an event of ours dispatched by the platform has the platform’s target', () => {
  const platform = new EventTarget();
  let seen;
  platform.addEventListener(TOPIC, (got) => {
    seen = [got.target, got.currentTarget];
    got.stopImmediatePropagation();
  });
  platform.addEventListener(TOPIC, () => assert.fail('propagation was stopped'));
  platform.dispatchEvent(event());
  assert.deepEqual(seen, [platform, platform]);
});

test('dispatching an event that is being dispatched throws InvalidStateError', () => {
  const target = new TableEventTarget();
  for (const dispatched of [event(), new CustomEvent(TOPIC)]) {
    let error;
    target.addEventListener(
      TOPIC,
      (got) => {
        error = assert.throws(() => target.dispatchEvent(got), { name: 'InvalidStateError' }) ?? 'thrown';
      },
      { once: true },
    );
    target.dispatchEvent(dispatched);
    assert.equal(error, 'thrown');
  }
});

test('dispatching what is no event throws a TypeError', () => {
  assert.throws(() => new TableEventTarget().dispatchEvent({ type: TOPIC }), TypeError);
});

test('the result is false when a listener prevented the default of a cancelable event', () => {
  const target = new TableEventTarget();
  target.addEventListener('x', (got) => got.preventDefault());
  assert.equal(target.dispatchEvent(new CustomEvent('x', { cancelable: true })), false);
  assert.equal(target.dispatchEvent(new CustomEvent('x')), true);
});

test('handleEvent is looked up at each dispatch and called with its object as this', () => {
  const target = new TableEventTarget();
  const seen = [];
  const listener = {
    handleEvent() {
      seen.push(['first', this]);
    },
  };
  target.addEventListener(TOPIC, listener);
  target.dispatchEvent(event());
  listener.handleEvent = function second() {
    seen.push(['second', this]);
  };
  target.dispatchEvent(event());
  assert.deepEqual(seen, [
    ['first', listener],
    ['second', listener],
  ]);
});

test('a handleEvent that cannot be called is reported as a TypeError and the others run', async () => {
  const target = new TableEventTarget();
  let calls = 0;
  target.addEventListener(TOPIC, {});
  target.addEventListener(TOPIC, () => calls++);
  const caught = await uncaughtDuring(() => target.dispatchEvent(event()));
  assert.equal(calls, 1);
  assert.equal(caught.length, 1);
  assert(caught[0] instanceof TypeError);
});

test('null and undefined are no listeners; a string is a mistake', () => {
  const target = new WatchedTarget();
  target.addEventListener(TOPIC, null);
  target.addEventListener(TOPIC, undefined);
  target.removeEventListener(TOPIC, null);
  assert.deepEqual(target.interest, []);
  assert.throws(() => target.addEventListener(TOPIC, 'listener'), TypeError);
});

test('the same listener twice runs once; with and without capture it is two', () => {
  const target = new TableEventTarget();
  let calls = 0;
  const listener = () => calls++;
  target.addEventListener(TOPIC, listener);
  target.addEventListener(TOPIC, listener, { once: true });
  target.addEventListener(TOPIC, listener, true);
  target.dispatchEvent(event());
  assert.equal(calls, 2);
  target.removeEventListener(TOPIC, listener, { capture: true });
  target.dispatchEvent(event());
  assert.equal(calls, 3);
});

test('a listener added with once runs once and frees the topic', () => {
  const target = new WatchedTarget();
  let calls = 0;
  target.addEventListener(TOPIC, () => calls++, { once: true });
  target.dispatchEvent(event());
  target.dispatchEvent(event());
  assert.equal(calls, 1);
  assert.deepEqual(target.interest, [`+${TOPIC}`, `-${TOPIC}`]);
});

test('a signal removes its listener and frees the topic; one that is aborted already adds nothing', () => {
  const target = new WatchedTarget();
  const controller = new AbortController();
  target.addEventListener(TOPIC, () => assert.fail('removed'), { signal: controller.signal });
  controller.abort();
  target.addEventListener(TOPIC, () => assert.fail('never added'), { signal: controller.signal });
  target.dispatchEvent(event());
  assert.deepEqual(target.interest, [`+${TOPIC}`, `-${TOPIC}`]);
  assert.throws(() => target.addEventListener(TOPIC, () => {}, { signal: null }), TypeError);
});

test('a removed listener leaves nothing on its signal, and a listener of the same name survives the abort', () => {
  const target = new TableEventTarget();
  const controller = new AbortController();
  let calls = 0;
  const listener = () => calls++;
  target.addEventListener(TOPIC, listener, { signal: controller.signal });
  target.removeEventListener(TOPIC, listener);
  target.addEventListener(TOPIC, listener);
  controller.abort();
  target.dispatchEvent(event());
  assert.equal(calls, 1);
});

test('interest begins with the first listener of a name and ends with the last, and is told nothing in between', () => {
  const target = new WatchedTarget();
  const listeners = [() => {}, () => {}, { handleEvent() {} }];
  for (let round = 0; round < 3; round++) {
    for (const listener of listeners) target.addEventListener(TOPIC, listener);
    for (const listener of listeners) target.addEventListener(TOPIC, listener);
    for (const listener of listeners) target.removeEventListener(TOPIC, listener);
    for (const listener of listeners) target.removeEventListener(TOPIC, listener);
  }
  assert.deepEqual(
    target.interest,
    Array.from({ length: 6 }, (_, i) => (i % 2 === 0 ? '+' : '-') + TOPIC),
  );
});

test('a listener is not added when nobody could be told of the interest', () => {
  class Refusing extends TableEventTarget {
    firstListener() {
      throw new RangeError('no');
    }
  }
  const target = new Refusing();
  assert.throws(() => target.addEventListener(TOPIC, () => assert.fail('not added')), RangeError);
  target.dispatchEvent(event());
});

test('a listener removed while dispatching is not called any more, one added is not called yet', () => {
  const target = new TableEventTarget();
  const seen = [];
  const late = () => seen.push('late');
  const removed = () => seen.push('removed');
  target.addEventListener(TOPIC, () => {
    seen.push('first');
    target.removeEventListener(TOPIC, removed);
    target.addEventListener(TOPIC, late);
  });
  target.addEventListener(TOPIC, removed);
  target.addEventListener(TOPIC, () => seen.push('last'));
  target.dispatchEvent(event());
  assert.deepEqual(seen, ['first', 'last']);
  target.dispatchEvent(event());
  assert.deepEqual(seen, ['first', 'last', 'first', 'last', 'late']);
});

test('a dispatch within a dispatch sees the table as it is then, the outer one as it was', () => {
  const target = new TableEventTarget();
  const seen = [];
  let depth = 0;
  target.addEventListener(TOPIC, () => {
    seen.push(`a${depth}`);
    if (depth > 0) return;
    depth++;
    target.addEventListener(TOPIC, () => seen.push(`c${depth}`));
    target.dispatchEvent(event());
    depth--;
  });
  target.addEventListener(TOPIC, () => seen.push(`b${depth}`));
  target.dispatchEvent(event());
  assert.deepEqual(seen, ['a0', 'a1', 'b1', 'c1', 'b0']);
});

test('stopImmediatePropagation keeps the event from the listeners behind', () => {
  const target = new TableEventTarget();
  const seen = [];
  target.addEventListener(TOPIC, () => seen.push('first'));
  target.addEventListener(TOPIC, (got) => got.stopImmediatePropagation());
  target.addEventListener(TOPIC, () => seen.push('never'));
  const dispatched = event();
  target.dispatchEvent(dispatched);
  target.dispatchEvent(dispatched);
  assert.deepEqual(seen, ['first', 'first']);
});

test('a throwing listener is reported as uncaught and the others run', async () => {
  const target = new TableEventTarget();
  const seen = [];
  const error = new Error('from a listener');
  target.addEventListener(TOPIC, () => {
    throw error;
  });
  target.addEventListener(TOPIC, () => seen.push('second'));
  const caught = await uncaughtDuring(() => {
    target.dispatchEvent(event());
    assert.deepEqual(seen, ['second']);
  });
  assert.deepEqual(caught, [error]);
});

test('names of Object.prototype are names like any other', () => {
  const target = new TableEventTarget();
  const seen = [];
  for (const type of ['__proto__', 'constructor', 'toString'])
    target.addEventListener(type, (got) => seen.push(got.type));
  for (const type of ['__proto__', 'constructor', 'toString']) target.dispatchEvent(new CustomEvent(type));
  assert.deepEqual(seen, ['__proto__', 'constructor', 'toString']);
});

test('a million additions and removals leave the table empty', () => {
  const target = new WatchedTarget();
  const listener = () => {};
  for (let i = 0; i < 1_000_000; i++) {
    target.addEventListener(TOPIC, listener);
    target.removeEventListener(TOPIC, listener);
    if (target.interest.length > 1000) target.interest.length = 0;
  }
  assert.deepEqual([...target.listenedNames], []);
});
