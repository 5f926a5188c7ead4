// What must compile and what must not: operators, and what follows from the source through pipe. Checked by tsc, never run.

import {
  batch,
  chain,
  createPubSub,
  dedupe,
  type EventEnvelope,
  filter,
  flat,
  groupBy,
  join,
  map,
  type Operator,
  pipe,
  reduce,
  type Sink,
  type Stream,
  take,
  toArray,
  window,
} from '../../ts/index.js';

type Shape = { kind: 'circle'; radius: number } | { kind: 'square'; side: number };

declare function expect<T>(value: T): void;
/** Fails to compile unless both types are the same. */
declare function same<A, B>(
  isSame: (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false,
): void;
declare const numbers: AsyncIterable<number>;
declare const strings: AsyncIterable<string>;
declare const shapes: AsyncIterable<Shape>;
declare const perhaps: AsyncIterable<string | undefined>;

// ---- Inference through pipe ----

const pubsub = createPubSub<{ 'chat.msg': { text: string; n: number }; 'user.left': null }>();
const texts = pipe(
  pubsub.subscribe('chat.msg', 'r1'),
  filter(({ payload }) => payload.n > 1),
  dedupe(({ payload }) => payload.n),
  map(({ payload }) => payload.text),
  take(3),
);
same<typeof texts, Stream<string>>(true);
for await (const text of texts) expect<string>(text);
pipe(
  pubsub.subscribe('chat.msg', 'r1'),
  // @ts-expect-error: no such property in the payload
  map(({ payload }) => payload.txt),
);
pipe(
  numbers,
  map(String),
  // @ts-expect-error: they are strings by now
  map((text) => text.toFixed()),
);
pipe(
  // @ts-expect-error: a stream of strings is none of numbers
  strings,
  map((n: number) => n),
);

same<typeof source, AsyncIterable<number>>(true);
const source = pipe(numbers);

// ---- filter: guards narrow, written or inferred ----

const circles = pipe(
  shapes,
  filter((shape): shape is Extract<Shape, { kind: 'circle' }> => shape.kind === 'circle'),
  map((circle) => circle.radius),
);
same<typeof circles, Stream<number>>(true);
const named = pipe(shapes, filter(isSquare));
same<typeof named, Stream<{ kind: 'square'; side: number }>>(true);
declare function isSquare(shape: Shape): shape is Extract<Shape, { kind: 'square' }>;
const defined = pipe(
  perhaps,
  filter((text) => text !== undefined),
);
same<typeof defined, Stream<string>>(true);
same<Stream<number>, ReturnType<typeof asynchronous>>(true);
const asynchronous = () =>
  pipe(
    numbers,
    filter(async (n) => n > 1),
  );
// @ts-expect-error: a string is no answer
filter((n: number) => String(n));

// ---- map, flat, batch, window ----

same<typeof awaited, Stream<string>>(true);
const awaited = pipe(
  numbers,
  map(async (n) => String(n)),
);
same<typeof batches, Stream<number[]>>(true);
const batches = pipe(numbers, batch(10, { maxDelayMs: 5 }));
same<typeof flattened, Stream<number>>(true);
const flattened = pipe(numbers, batch(10), flat());
const mixed = pipe(
  numbers,
  map((n) => (n > 1 ? [n] : 'text')),
  flat(),
);
same<typeof mixed, Stream<number | 'text'>>(true);
const opened = pipe(
  numbers,
  map(() => strings),
  flat(),
);
same<typeof opened, Stream<string>>(true);
const sums = pipe(
  numbers,
  window(3, 2),
  map((items) => items.reduce((a, b) => a + b)),
);
same<typeof sums, Stream<number>>(true);
// @ts-expect-error: the size is a number
batch('10');
// @ts-expect-error: no such option
batch(10, { delay: 5 });

// ---- groupBy, chain, join ----

const groups = pipe(
  shapes,
  groupBy((shape) => shape.kind),
);
for await (const [key, group] of groups) {
  same<typeof key, 'circle' | 'square'>(true);
  same<typeof group, Stream<Shape>>(true);
}
const counted = pipe(
  numbers,
  groupBy(async (n) => n % 2 === 0),
  map(async ([isEven, group]) => [isEven, await pipe(group, toArray())] as const),
);
same<typeof counted, Stream<readonly [boolean, number[]]>>(true);
const chained = pipe(numbers, chain(strings, pipe(numbers, map(Boolean))));
same<typeof chained, Stream<string | number | boolean>>(true);
same<typeof joined, Stream<string | number>>(true);
const joined = pipe(numbers, join(strings));
const rooms = pipe(pubsub.subscribe('chat.msg', 'a'), join(pubsub.subscribe('user.left', 'a')));
for await (const event of rooms) if (event.type === 'chat.msg') expect<string>(event.payload.text);
// @ts-expect-error: an array is not asynchronous
pipe(numbers, chain([1]));

// ---- The ends ----

same<typeof total, number>(true);
const total = await pipe(
  strings,
  reduce((sum, text) => sum + text.length, 0),
);
same<typeof list, EventEnvelope<'user.left', null>[]>(true);
const list = await pipe(pubsub.subscribe('user.left', 'a'), take(1), toArray());
// @ts-expect-error: a promise is no source
pipe(numbers, toArray(), map(String));

// ---- By hand, and with functions of one's own ----

const double: Operator<number, number> = map((n) => n * 2);
const sum: Sink<number, number> = reduce((a, b) => a + b, 0);
expect<Promise<number>>(pipe(numbers, double, sum));
expect<Stream<number>>(double(numbers));
expect<string>(pipe(numbers, () => 'whatever'));
// @ts-expect-error: no async iterable
pipe([1, 2, 3], double);
await using disposed = pipe(numbers, double);
expect<Promise<IteratorResult<number, undefined>>>(disposed.next());
