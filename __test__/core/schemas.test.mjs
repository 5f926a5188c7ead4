// Payloads against schemas, with the real zod, valibot and arktype: on publish, on receive, and what follows from a mismatch.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type } from 'arktype';
import * as v from 'valibot';
import { z } from 'zod';
import {
  createEvent,
  createMemoryEventTarget,
  createPubSub,
  InvalidPayloadError,
  PubSubError,
} from '../../dist/index.js';
import { uncaughtDuring } from '../conformance/uncaught.mjs';
import { done, settled } from './sources.mjs';

/** The same schema three times: a text and a number that may be missing; at "texts" an array of texts. */
const libraries = {
  zod: {
    message: z.object({ text: z.string(), n: z.number().default(1), texts: z.array(z.string()).default([]) }),
    upper: z.string().transform((text) => text.toUpperCase()),
    later: z.string().refine(async (text) => {
      await settled();
      return text !== 'bad';
    }),
  },
  valibot: {
    message: v.object({
      text: v.string(),
      n: v.optional(v.number(), 1),
      texts: v.optional(v.array(v.string()), []),
    }),
    upper: v.pipe(
      v.string(),
      v.transform((text) => text.toUpperCase()),
    ),
    later: v.pipeAsync(
      v.string(),
      v.checkAsync(async (text) => {
        await settled();
        return text !== 'bad';
      }),
    ),
  },
  arktype: {
    message: type({ text: 'string', n: 'number = 1', texts: type('string[]').default(() => []) }),
    upper: type('string').pipe((text) => text.toUpperCase()),
  },
};

const invalid = (topic) => (error) => {
  assert(error instanceof InvalidPayloadError && error instanceof PubSubError);
  assert.deepEqual([error.name, error.code], ['InvalidPayloadError', 'ERR_INVALID_PAYLOAD']);
  assert(error.message.includes(`"${topic}"`), error.message);
  assert(error.issues.length > 0);
  for (const { message } of error.issues) assert.equal(typeof message, 'string');
  return true;
};

for (const [library, { message, upper, later }] of Object.entries(libraries)) {
  test(`${library}: publish throws for a payload that does not match, and dispatches nothing`, () => {
    const { publish, eventTarget } = createPubSub({ schemas: { 'chat.msg': message } });
    const heard = [];
    eventTarget.addEventListener('chat.msg:r1', ({ detail }) => heard.push(detail.payload));
    assert.throws(
      () => publish('chat.msg', 'r1', { text: 5 }),
      (error) => {
        assert.match(error.message, /at "text"/);
        return invalid('chat.msg:r1')(error);
      },
    );
    assert.throws(() => publish('chat.msg', 'r1', undefined), invalid('chat.msg:r1'));
    assert.throws(() => publish('chat.msg', 'r1', { text: '', texts: ['a', 5] }), /at "texts.1"/);
    publish('chat.msg', 'r1', { text: 'right' });
    // What travels is what was published, not what the schema makes of it.
    assert.deepEqual(heard, [{ text: 'right' }]);
  });

  test(`${library}: subscribers get what the schema makes of a payload`, async () => {
    const { publish, subscribe } = createPubSub({ schemas: { 'chat.msg': message, shout: upper } });
    const messages = subscribe('chat.msg', 'r1');
    const shouts = subscribe('shout', '');
    publish('chat.msg', 'r1', { text: 'right' });
    publish('shout', '', 'hey');
    assert.deepEqual(await messages.next(), {
      value: { type: 'chat.msg', id: 'r1', payload: { text: 'right', n: 1, texts: [] } },
      done: false,
    });
    assert.equal((await shouts.next()).value.payload, 'HEY');
  });

  test(`${library}: a received payload that does not match is skipped, counted and told of`, async () => {
    const { subscribe, eventTarget } = createPubSub({ schemas: { 'chat.msg': message } });
    const told = [];
    const onInvalid = (error, envelope) => told.push([error, envelope]);
    const messages = subscribe('chat.msg', 'r1', { onInvalid });
    for (const payload of [{ text: 'a' }, { text: 5 }, null, { text: 'b' }])
      eventTarget.dispatchEvent(createEvent('chat.msg', 'r1', payload));
    const texts = [(await messages.next()).value.payload.text, (await messages.next()).value.payload.text];
    assert.deepEqual([texts, messages.invalid], [['a', 'b'], 2]);
    assert.deepEqual(
      told.map(([, { payload }]) => payload),
      [{ text: 5 }, null],
    );
    for (const [error] of told) invalid('chat.msg:r1')(error);
  });

  if (later === undefined) continue;

  test(`${library}: a schema that answers with a promise keeps the order, and cannot be used in publish`, async () => {
    const receiving = createPubSub({ schemas: { text: later }, validate: 'receive' });
    const texts = receiving.subscribe('text', '', { onInvalid: () => {} });
    const pulls = [texts.next(), texts.next(), texts.next()];
    for (const text of ['one', 'bad', 'two', 'three']) receiving.publish('text', '', text);
    assert.deepEqual(
      (await Promise.all(pulls)).map(({ value }) => value.payload),
      ['one', 'two', 'three'],
    );
    assert.equal(texts.invalid, 1);
    assert.throws(() => createPubSub({ schemas: { text: later } }).publish('text', '', 'one'), {
      name: 'TypeError',
      code: 'ERR_INVALID_OPTION',
      message: /publish\(\) cannot wait/,
    });
  });
}

const text = z.string();
const over = (options) => createPubSub({ schemas: { text }, ...options });

test('validate says where payloads are checked', async () => {
  const outward = over({ validate: 'publish' });
  assert.throws(() => outward.publish('text', '', 5), { code: 'ERR_INVALID_PAYLOAD' });
  const unchecked = outward.subscribe('text', '');
  outward.eventTarget.dispatchEvent(createEvent('text', '', 5));
  assert.equal((await unchecked.next()).value.payload, 5);

  const inward = over({ validate: 'receive' });
  const checked = inward.subscribe('text', '', { onInvalid: () => {} });
  inward.publish('text', '', 5);
  inward.publish('text', '', 'right');
  assert.equal((await checked.next()).value.payload, 'right');
});

test('types without a schema are not checked, whatever their name', async () => {
  const { publish, subscribe } = over();
  for (const name of ['other', 'constructor', 'toString', 'hasOwnProperty']) {
    const subscription = subscribe(name, '');
    publish(name, '', 5);
    assert.equal((await subscription.next()).value.payload, 5);
  }
});

test('with invalid: "throw" the subscription ends with the error, after what came before', async () => {
  const eventTarget = createMemoryEventTarget();
  const { subscribe } = over({ eventTarget });
  const told = [];
  const texts = subscribe('text', '', { invalid: 'throw', onInvalid: (error) => told.push(error) });
  for (const payload of ['a', 5, 'b']) eventTarget.dispatchEvent(createEvent('text', '', payload));
  assert.equal((await texts.next()).value.payload, 'a');
  await assert.rejects(texts.next(), invalid('text:'));
  assert.deepEqual(await texts.next(), done);
  assert.equal(told.length, 1);
  await assert.rejects(eventTarget.ready('text:'), { code: 'ERR_NOT_SUBSCRIBED' });
});

test('without onInvalid the target raises an error, once a second at most, and it counts', async (t) => {
  let now = 1_000_000;
  t.mock.method(Date, 'now', () => now);
  const eventTarget = createMemoryEventTarget();
  const errors = [];
  eventTarget.addEventListener('error', ({ detail }) => errors.push(detail));
  const texts = over({ eventTarget }).subscribe('text', '');
  const dispatch = (...payloads) => {
    for (const payload of payloads) eventTarget.dispatchEvent(createEvent('text', '', payload));
  };
  dispatch(1, 2, 3, 'a');
  await texts.next();
  assert.deepEqual(
    errors.map(({ code, dropped }) => [code, dropped]),
    [['ERR_INVALID_PAYLOAD', 1]],
  );
  now += 1000;
  dispatch(4, 'b');
  await texts.next();
  assert.deepEqual(
    errors.map(({ dropped }) => dropped),
    [1, 3],
  );
  assert.equal(texts.invalid, 4);
});

test('on a target that is not ours the process is warned', async (t) => {
  const warnings = [];
  t.mock.method(process, 'emitWarning', (message, options) => warnings.push([message, options]));
  const { eventTarget, subscribe } = over();
  eventTarget.addEventListener('error', () => assert.fail('not a life-cycle name here'));
  const texts = subscribe('text', '');
  eventTarget.dispatchEvent(createEvent('text', '', 'secret'.repeat(3).split('')));
  eventTarget.dispatchEvent(createEvent('text', '', 'right'));
  await texts.next();
  assert.equal(warnings.length, 1);
  const [[message, { code }]] = warnings;
  assert.equal(code, 'ERR_INVALID_PAYLOAD');
  assert.doesNotMatch(message, /secret/);
});

test('no message holds a value, however much a schema says about it', () => {
  const schema = v.object({ token: v.literal('known') });
  const { publish } = createPubSub({ schemas: { login: schema } });
  assert.throws(
    () => publish('login', '', { token: 'secret-123' }),
    (error) => {
      assert.match(error.issues[0].message, /secret-123/);
      assert.doesNotMatch(error.message, /secret-123/);
      return true;
    },
  );
});

const standard = (validate) => ({ '~standard': { version: 1, vendor: 'test', validate } });

test('a schema that throws, rejects or answers nonsense is a mismatch with a cause, never a crash', async () => {
  const mine = new Error('mine');
  for (const [validate, cause] of [
    [
      () => {
        throw mine;
      },
      mine,
    ],
    [() => Promise.reject(mine), mine],
    [() => undefined, undefined],
    [async () => null, undefined],
  ]) {
    const { subscribe, eventTarget } = createPubSub({ schemas: { a: standard(validate) } });
    const errors = [];
    const subscription = subscribe('a', '', { onInvalid: (error) => errors.push(error), invalid: 'throw' });
    eventTarget.dispatchEvent(createEvent('a', '', 1));
    await assert.rejects(subscription.next(), { code: 'ERR_INVALID_PAYLOAD' });
    assert.deepEqual(errors[0].issues, []);
    if (cause === undefined) assert(errors[0].cause instanceof TypeError);
    else assert.equal(errors[0].cause, cause);
  }
  const broken = createPubSub({
    schemas: {
      a: standard(() => {
        throw mine;
      }),
    },
  });
  assert.throws(() => broken.publish('a', '', 1), { code: 'ERR_INVALID_PAYLOAD', cause: mine });
});

test('leaving while a schema has not answered ends the pull, by return() and by signal', async () => {
  const never = standard(() => new Promise(() => {}));
  for (const leave of [(subscription) => subscription.return(), (_, controller) => controller.abort()]) {
    const controller = new AbortController();
    const { publish, subscribe, eventTarget } = createPubSub({
      eventTarget: createMemoryEventTarget(),
      schemas: { a: never },
      validate: 'receive',
    });
    const subscription = subscribe('a', '', { signal: controller.signal });
    publish('a', '', 1);
    const pull = subscription.next();
    await settled();
    leave(subscription, controller);
    assert.deepEqual(await pull, done);
    await assert.rejects(eventTarget.ready('a:'), { code: 'ERR_NOT_SUBSCRIBED' });
  }
});

test('a checked subscription queues, overflows, tells of gaps and of ready as others do', async () => {
  const eventTarget = createMemoryEventTarget();
  const { publish, subscribe } = over({ eventTarget });
  const log = [];
  const texts = subscribe('text', '', { maxQueued: 2, overflow: 'drop-oldest', onGap: () => log.push('gap') });
  assert.deepEqual(await texts.ready, { acknowledged: true });
  for (const payload of ['a', 'b', 'c']) publish('text', '', payload);
  eventTarget.dispatchEvent(new CustomEvent('gap', { detail: { topics: ['text:'] } }));
  publish('text', '', 'd');
  assert.equal(texts.dropped, 2);
  for (let i = 0; i < 2; i++) log.push((await texts.next()).value.payload);
  assert.deepEqual(log, ['c', 'gap', 'd']);
  const overflowing = subscribe('text', '', { maxQueued: 1 });
  publish('text', '', 'a');
  publish('text', '', 'b');
  assert.equal((await overflowing.next()).value.payload, 'a');
  await assert.rejects(overflowing.next(), { code: 'ERR_SLOW_CONSUMER' });
  await eventTarget.close();
  for (const payload of ['a', 'b']) assert.equal((await texts.next()).value.payload, payload);
  assert.deepEqual(await texts.next(), done);
});

test('an onInvalid that throws is reported as uncaught and stops nothing', async () => {
  const mine = new Error('mine');
  const { eventTarget, subscribe } = over();
  const texts = subscribe('text', '', {
    onInvalid: () => {
      throw mine;
    },
  });
  for (const payload of [5, 'right']) eventTarget.dispatchEvent(createEvent('text', '', payload));
  const caught = await uncaughtDuring(async () => assert.equal((await texts.next()).value.payload, 'right'));
  assert.deepEqual(caught, [mine]);
});

test('options are checked at once', () => {
  const bad = { name: 'TypeError', code: 'ERR_INVALID_OPTION' };
  assert.throws(() => createPubSub({ schemas: { a: String } }), { ...bad, message: /schemas\["a"\] must be a schema/ });
  assert.throws(() => createPubSub({ schemas: { a: { '~standard': { version: 2, validate: () => {} } } } }), bad);
  assert.throws(() => createPubSub({ schemas: { a: null } }), bad);
  for (const schemas of [5, [], new Map([['text', text]]), null]) assert.throws(() => createPubSub({ schemas }), bad);
  assert.throws(() => over({ validate: 'always' }), { ...bad, message: /validate must be one of/ });
  assert.throws(() => createPubSub({ target: new EventTarget() }), { ...bad, message: /no "target"; known are/ });
  assert.throws(() => createPubSub({ eventTarget: {} }), { ...bad, message: /eventTarget must be/ });
  assert.throws(() => over().subscribe('text', '', { onInvalid: 5 }), bad);
  assert.throws(() => over().subscribe('text', '', { invalid: 'skip' }), bad);
});
