// Spokes in plain TypeScript against played sockets, for one test: closed when it is over.
import { afterEach } from 'node:test';
import { createWebSocketClientEventTarget } from '../../dist/browser/event-target-websocket-client.js';
import { createEvent } from '../../dist/index.js';
import { HUB_HELLO, playedSockets, subscribed } from './played-socket.mjs';

export const URL_OF_HUB = 'ws://hub.test/';
export const turn = () => new Promise(setImmediate);
export const soon = { minDelayMs: 1, maxDelayMs: 1 };

/** Timers of a spoke hold no process, so a test that waits for one holds it. */
let hold;
// The real ones: some tests play the clock.
const timers = { setInterval, clearInterval };
const holding = () => (hold ??= timers.setInterval(() => {}, 60_000));
const open = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((spoke) => spoke.close({ timeoutMs: 0 })));
  timers.clearInterval(hold);
  hold = undefined;
});

export function makeSpoke(options = {}, url = URL_OF_HUB) {
  const sockets = playedSockets();
  const spoke = createWebSocketClientEventTarget(url, { WebSocket: sockets.WebSocket, reconnect: soon, ...options });
  const log = [];
  for (const name of ['open', 'reconnecting', 'gap', 'error', 'close'])
    spoke.addEventListener(name, ({ detail }) => log.push([name, detail]));
  open.push(spoke);
  holding();
  return { spoke, log, ...sockets, names: () => log.map(([name]) => name) };
}

/** A spoke whose hub is native; `topics` are acknowledged. */
export async function makeOpenSpoke(options, ...topics) {
  const made = makeSpoke(options);
  const heard = [];
  for (const topic of topics)
    made.spoke.addEventListener(topic, ({ detail }) => heard.push(detail.payload ?? detail.type));
  const [socket] = [await made.next()];
  admit(socket, ...topics);
  await made.spoke.ready();
  return { ...made, socket, heard };
}

export function admit(socket, ...topics) {
  socket.open();
  socket.receive(HUB_HELLO, ...topics.map((topic, i) => subscribed(topic, i + 1)));
}

export const gapsIn = (log) => log.filter(([name]) => name === 'gap').map(([, detail]) => detail);
export const publish = (spoke, type, id, payload) => spoke.dispatchEvent(createEvent(type, id, payload));
export const codeOf = (error) => error?.code;
