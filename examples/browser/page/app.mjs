// A tab: tells the others what is typed here, and shows what they type, how the link is, and what may be missing.
import { createPubSub } from '@alkdev/pubsub-native';
import { createWebSocketClientEventTarget } from '@alkdev/pubsub-native/event-target-websocket-client';

const $ = (id) => document.getElementById(id);
const me = `tab ${crypto.getRandomValues(new Uint16Array(1))[0].toString(36)}`;
$('name').textContent = me;

// Asked before each attempt: a hub on another port is found again.
const spoke = createWebSocketClientEventTarget(async () => {
  const { port } = await (await fetch('/hub.json')).json();
  return `ws://${location.hostname}:${port}`;
});
const { publish } = createPubSub({ eventTarget: spoke });

const tell = () => publish('tab.text', 'all', { from: me, text: $('mine').value });
$('mine').addEventListener('input', tell);

// ---- What the others say --------------------------------------------------------------------------------------------------------------

const others = new Map();
let received = 0;

on('tab.text:all', ({ payload: { from, text } }) => {
  const place = others.get(from) ?? join(from);
  place.textContent = text === '' ? '…' : text;
});
// Who has just come, or has missed something, asks to hear it again.
on('tab.asks:all', () => tell());
on('tab.leaves:all', ({ payload: { from } }) => {
  others.get(from)?.parentElement.remove();
  others.delete(from);
});
on('tab.floods:all', () => {});

function on(topic, act) {
  spoke.addEventListener(topic, ({ detail }) => {
    received++;
    act(detail);
  });
}

function join(from) {
  const [item, name, text] = ['li', 'b', 'span'].map((tag) => document.createElement(tag));
  name.textContent = from;
  item.append(name, text);
  $('others').append(item);
  others.set(from, text);
  return text;
}

const ask = () => {
  publish('tab.asks', 'all', null);
  tell();
};
spoke.ready('tab.text:all').then(ask, () => {});
addEventListener('pagehide', () => publish('tab.leaves', 'all', { from: me }));

// ---- How the link is ------------------------------------------------------------------------------------------------------------------

let gaps = 0;
let countdown;

spoke.addEventListener('open', ({ detail }) => {
  show('open', 'connected');
  log('open', detail.reconnected ? 'connected again' : 'connected');
});
spoke.addEventListener('reconnecting', ({ detail: { attempt, delayMs, cause } }) => {
  log('reconnecting', `attempt ${attempt} in ${delayMs} ms: ${cause.code}`);
  const due = performance.now() + delayMs;
  const left = () => (Math.max(0, due - performance.now()) / 1000).toFixed(1);
  show('reconnecting', `reconnecting in ${left()} s`);
  countdown = setInterval(() => {
    $('state').textContent = `reconnecting in ${left()} s`;
  }, 100);
});
spoke.addEventListener('gap', ({ detail: { cause, direction, from, to } }) => {
  gaps++;
  log('gap', `gap of ${to - from} ms (${cause}, ${direction}): asking the others again`);
  ask();
});
spoke.addEventListener('error', ({ detail }) => log('error', `${detail.code}: ${detail.message}`));
spoke.addEventListener('close', ({ detail }) => {
  show('closed', `closed with ${detail.code}`);
  log('close', `closed with ${detail.code} ${detail.reason}`);
});

function show(state, text) {
  clearInterval(countdown);
  $('state').dataset.state = state;
  $('state').textContent = text;
}

function log(kind, text) {
  const item = document.createElement('li');
  const time = document.createElement('time');
  time.textContent = new Date().toLocaleTimeString('en-GB');
  item.dataset.kind = kind;
  item.append(time, text);
  $('log').prepend(item);
}

// ---- Numbers and buttons --------------------------------------------------------------------------------------------------------------

let before = 0;
setInterval(() => {
  $('rate').value = received - before;
  before = received;
}, 1000);
setInterval(() => {
  $('received').value = received;
  $('gaps').value = gaps;
  $('waiting').value = spoke.bufferedAmount;
}, 100);

let flood;
$('flood').addEventListener('change', ({ target }) => {
  clearInterval(flood);
  if (target.checked) flood = setInterval(() => publish('tab.floods', 'all', Date.now()), 10);
});
$('restart').addEventListener('click', async ({ target }) => {
  target.disabled = true;
  await fetch('/restart', { method: 'POST' });
  target.disabled = false;
});
