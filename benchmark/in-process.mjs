// What publishing to one async iterator costs within a process: ours, @graphql-yoga/subscription, and a listener without an iterator.
// `npm run bench:in-process`. Variants alternate in one run; figures are wall time per event, medians over the rounds, and each variant's
// events are counted and compared, so that none can be fast by losing some.

import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { createPubSub as createYogaPubSub } from '@graphql-yoga/subscription';
import { buildTypeScript, installPackages } from '../scripts/build.mjs';
import { fromRoot } from '../scripts/project.mjs';
import { median, spread, table } from './measure.mjs';

const ROUNDS = 15;
const EVENTS = 50_000;

/** Events published before the reader gets to read: one at a time, as much as a socket brings, and a flood. */
const BURSTS = [1, 16, 256];

installPackages();
buildTypeScript();
const { createMemoryEventTarget, createPubSub } = await import('../dist/index.js');

const oursOver = (eventTarget) => {
  const { publish, subscribe } = createPubSub({ eventTarget });
  const subscription = subscribe('bench', 'x');
  return {
    publish: (n) => publish('bench', 'x', n),
    read: (each) => readWith(subscription, ({ payload }) => each(payload)),
  };
};

/** Each: makes a way to publish a number, and to read until `each` says that it has enough. */
const variants = {
  'createPubSub()': () => oursOver(undefined),
  'createPubSub over an EventTarget': () => oursOver(new EventTarget()),
  'createPubSub over a memory target': () => oursOver(createMemoryEventTarget()),
  '@graphql-yoga/subscription': () => {
    const pubSub = createYogaPubSub();
    const subscription = pubSub.subscribe('bench', 'x');
    return { publish: (n) => pubSub.publish('bench', 'x', n), read: (each) => readWith(subscription, each) };
  },
  'a listener of an EventTarget': () => {
    const target = new EventTarget();
    const publish = (n) =>
      target.dispatchEvent(new CustomEvent('bench:x', { detail: { type: 'bench', id: 'x', payload: n } }));
    return { publish, read: (each) => listenWith(target, each) };
  },
};

async function readWith(subscription, each) {
  for await (const item of subscription) if (each(item)) break;
}

function listenWith(target, each) {
  return new Promise((resolve) => {
    target.addEventListener('bench:x', ({ detail }) => {
      if (each(detail.payload)) resolve();
    });
  });
}

/** Nanoseconds per event. The reader publishes the next burst itself when it has read the last one: nothing else is measured. */
async function measure(make, burst) {
  const { publish, read } = make();
  let published = 0;
  let expected = 0;
  let isPublishing = false;
  const publishBurst = () => {
    isPublishing = true;
    for (const until = Math.min(EVENTS, published + burst); published < until; ) publish(published++);
    isPublishing = false;
  };
  const reading = read((n) => {
    if (n !== expected++) throw new Error(`expected event ${expected - 1}, got ${n}`);
    // A listener reads while the burst is still being published: the loop below goes on.
    if (expected === published && !isPublishing) publishBurst();
    return expected === EVENTS;
  });
  const begun = performance.now();
  while (published < EVENTS) {
    publishBurst();
    await Promise.resolve();
    if (expected < published) break;
  }
  await reading;
  return ((performance.now() - begun) * 1e6) / EVENTS;
}

const names = Object.keys(variants);
const results = new Map(BURSTS.map((burst) => [burst, Object.fromEntries(names.map((name) => [name, []]))]));
for (let round = -1; round < ROUNDS; round++) {
  for (const [burst, times] of results) {
    for (const name of names) {
      const ns = await measure(variants[name], burst);
      // The first round warms up.
      if (round >= 0) times[name].push(ns);
    }
  }
}

const yoga = JSON.parse(readFileSync(fromRoot('node_modules/@graphql-yoga/subscription/package.json'), 'utf8'));
console.log(
  `Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, @graphql-yoga/subscription ${yoga.version}, ` +
    `${ROUNDS} rounds of ${EVENTS} events\n`,
);
for (const [burst, times] of results) {
  const slowest = times['@graphql-yoga/subscription'];
  console.log(`Publish to one reader, ${burst} ${burst === 1 ? 'event' : 'events'} at a time`);
  console.log(
    table(
      names.map((name) => ({
        variant: name,
        'ns per event': spread(times[name]),
        'events/s': Math.round(1e9 / median(times[name])),
        'graphql-yoga ÷ this': spread(
          times[name].map((ns, round) => slowest[round] / ns),
          1,
        ),
      })),
    ),
  );
  console.log();
}
