// Attacks with messages: no envelopes, envelopes that say two things, control events that are not theirs, names that JavaScript knows.
import { envelope, frame, hello, Raw, subscribe, TEXT, unsubscribe, until } from './raw.mjs';

const MIB = 1 << 20;

/** A second connection that hears what the attacker should not be able to say. */
async function witness(port, ...topics) {
  const client = await Raw.open(port);
  client.write(Buffer.concat(topics.map(subscribe)));
  await client.settles();
  return client;
}

const notEnvelopes = [
  '',
  ' ',
  'null',
  '[]',
  '"text"',
  '1e400',
  '{',
  '{}',
  '{"type":"a"}',
  '{"id":"a"}',
  '{"type":1,"id":"a"}',
  '{"type":"","id":"a","payload":1}',
  '{"type":"attack","id":null,"payload":1}',
  '{"type":"attack","id":"1","payload":1}}',
  '{"type":"attack","id":"1","payload":1},{"type":"attack","id":"1","payload":2}',
  '{"type":"attack","id":"1","payload":undefined}',
  '{"type":"attack","id":"1","payload":NaN}',
  "{'type':'attack','id':'1','payload':1}",
  '{"type":"attack","id":"1","payload":01}',
  '{"type":"attack","id":"1","payload":"\u0001"}',
  '{"type":"attack","id":"\\ud800","payload":1}',
  '\u{feff}{"type":"attack","id":"1","payload":1}',
];

async function malformed({ port, hub }) {
  const { stats: before } = await hub.ask('state');
  for (const text of notEnvelopes) {
    const client = await Raw.open(port);
    client.say(text);
    await client.settles();
    client.destroy();
  }
  const { stats: after } = await hub.ask('state');
  const counted = after.malformed - before.malformed;
  if (counted !== notEnvelopes.length)
    throw new Error(`${counted} of ${notEnvelopes.length} messages were counted as malformed`);
  const client = await Raw.open(port);
  client.write(Buffer.concat(Array.from({ length: 200 }, () => frame(TEXT, '{'))));
  await client.closes(1008);
  return `${counted} kinds skipped and counted; 200 from one connection: closed with 1008`;
}

async function duplicateKeys({ port, hub }) {
  const texts = [
    '{"type":"attack","type":"secret","id":"1","payload":1}',
    '{"type":"attack","id":"1","id":"2","payload":1}',
    '{"type":"attack","id":"1","payload":1,"payload":2}',
    '{"type":"attack","\\u0074ype":"secret","id":"1","payload":1}',
  ];
  const heard = await witness(port, 'attack:1', 'secret:1', 'attack:2');
  const { stats: before } = await hub.ask('state');
  const client = await Raw.open(port);
  for (const text of texts) client.say(text);
  // Keys of others, and one of transports: not forwarded.
  client.say('{"_o":"forged","__proto__":{"a":1},"type":"attack","id":"1","payload":{"type":"secret"},"extra":[1]}');
  await client.settles();
  await heard.hears((text) => text.includes('"payload"'), 'the one that is right');
  await heard.settles();
  const { stats: after } = await hub.ask('state');
  const told = heard.frames.filter(({ opcode }) => opcode === TEXT).map(({ text }) => text);
  if (told.join() !== '{"type":"attack","id":"1","payload":{"type":"secret"}}') throw new Error(`heard ${told.join()}`);
  if (after.malformed - before.malformed !== texts.length) throw new Error('not all were counted as malformed');
  client.destroy();
  heard.destroy();
  return `${texts.length} kinds skipped; other keys are not forwarded`;
}

async function forgedControls({ port, hub }) {
  const heard = await witness(port, '__gap:', '__subscribed:', 'attack:1', 'attack:heard');
  const { stats: before } = await hub.ask('state');
  const client = await Raw.open(port);
  client.write(hello());
  const gap = { cause: 'upstream', from: 0, to: 1, topics: ['attack:1'] };
  const forged = [
    ['__subscribed', { topic: 'attack:1', n: 1 }],
    ['__refused', { topic: 'attack:1', kind: 'subscribe', code: 'FORBIDDEN', reason: 'forged' }],
    ['__gap', gap],
    ['__gap', { ...gap, from: -1.5, to: 'never', topics: 7 }],
    ['__credit', { bytes: -1 }],
    ['__credit', { bytes: 1e308 }],
    ['__anything', {}],
    ['__proto__', { topic: 'attack:1' }],
    ['__subscribe', {}],
    ['__subscribe', { topic: '' }],
    ['__subscribe', { topic: 7 }],
    ['__subscribe', null],
    ['__hello', { version: 1, role: 'hub', features: ['credit', 'resume', 'pattern'] }],
    ['__hello', { version: 1, role: 'spoke', features: [] }],
    ['__hello', { padding: 'x'.repeat(2000) }],
  ];
  for (const [type, payload] of forged) client.say(envelope(type, '', payload));
  client.say(envelope('attack', 'heard', 'behind the forged ones'));
  await client.settles();
  await heard.hears((text) => text.includes('behind the forged ones'), 'the event behind them');
  const { stats: after } = await hub.ask('state');
  const told = heard.frames.filter(({ opcode }) => opcode === TEXT);
  if (told.length !== 1) throw new Error(`the witness heard ${told.map(({ text }) => text).join()}`);
  const ignored = after.ignoredControls - before.ignoredControls;
  if (ignored < forged.length - 1) throw new Error(`only ${ignored} of ${forged.length} were ignored and counted`);
  client.destroy();
  heard.destroy();
  return `${ignored} ignored and counted, none forwarded`;
}

/** Names that are something in JavaScript: events like others, and no prototype is touched. */
async function names({ port, hub }) {
  const pairs = [
    ['constructor', '__proto__'],
    ['toString', 'valueOf'],
    ['attack', '__proto__'],
  ];
  const heard = await witness(port, ...pairs.map(([type, id]) => `${type}:${id}`));
  const client = await Raw.open(port);
  for (const [type, id] of pairs)
    client.say(`{"type":"${type}","id":"${id}","payload":{"__proto__":{"polluted":1},"constructor":2}}`);
  for (const [type, id] of pairs)
    await heard.hears((text) => text.includes(`"type":"${type}","id":"${id}"`), `${type}:${id}`);
  await client.settles();
  const state = await until(async () => {
    const state = await hub.ask('state');
    return pairs.every(([type, id]) => state.heard[`${type}:${id}`] !== undefined) && state;
  }, "the hub's own listeners have heard them");
  if (state.isPolluted) throw new Error('Object.prototype has got a property');
  for (const [type, id] of pairs) {
    const heard = state.heard[`${type}:${id}`];
    if (heard.type !== type || heard.id !== id) throw new Error(`the hub heard ${JSON.stringify(heard)}`);
  }
  const strange = await Raw.connect(port);
  strange.write(
    `GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n__proto__: 1\r\nconstructor: 2\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  );
  await strange.status(101);
  for (const each of [strange, client, heard]) each.destroy();
  return `${pairs.length} topics heard as they are, in Rust and in JavaScript`;
}

async function deepJson({ port, hub }) {
  const heard = await witness(port, 'attack:heard');
  const client = await Raw.open(port);
  const deep = (depth, open = '[', close = ']') => `${open.repeat(depth)}${close.repeat(depth)}`;
  const depths = [100, 10_000, 200_000];
  for (const depth of depths) client.say(`{"type":"attack","id":"heard","payload":${deep(depth)}}`);
  client.say(`{"type":"attack","id":"heard","payload":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`);
  client.say(`{"type":"attack","id":"heard","payload":${'['.repeat(500_000)}}`);
  client.say(`{"a":${deep(100_000)},"type":"attack","id":"heard","payload":"behind"}`);
  client.say(envelope('attack', 'heard', 'last'));
  await client.settles();
  await heard.hears((text) => text.includes('"last"'), 'the event behind them');
  const lengths = heard.frames.filter(({ opcode }) => opcode === TEXT).map(({ text }) => text.length);
  const { stats } = await hub.ask('state');
  if (stats.panics > 0) throw new Error(`${stats.panics} panics`);
  client.destroy();
  heard.destroy();
  return `depth up to 200 000; ${lengths.length - 1} of ${depths.length + 3} passed on as they were, the rest refused`;
}

async function longNames({ port, hub }) {
  const client = await Raw.open(port);
  client.write(hello());
  client.write(subscribe(`attack:${'x'.repeat(1018)}`));
  client.write(subscribe(`attack:${'x'.repeat(MIB - 200)}`));
  client.say(envelope('attack', 'x'.repeat(1018), 1));
  client.say(envelope('x'.repeat(MIB - 200), '', 1));
  await client.settles();
  await client.hears((text) => text.includes('__refused') && text.includes('maxTopicBytes'), 'a refusal');
  const { stats } = await hub.ask('state');
  client.destroy();
  return `topics of 1025 bytes and of 1 MiB: refused, ${stats.topics} topics in the table`;
}

/** As many topics as a hub may have, and one connection that wants more than its share. */
async function topicExplosion({ port, hub, topics, limits }) {
  const perConnection = limits.maxTopicsPerConnection;
  const greedy = await Raw.open(port);
  greedy.write(hello());
  const before = (await hub.ask('state')).stats.topics;
  const clients = [];
  for (let n = 0; n < Math.ceil(topics / perConnection); n++) {
    const client = await Raw.open(port);
    clients.push(client);
    for (let first = 0; first < perConnection; first += 1000) {
      const some = Array.from({ length: 1000 }, (_, k) => subscribe(`attack:${n}/${first + k}`));
      if (!(await client.push(Buffer.concat(some)))) throw new Error(`closed with ${client.closeCode}`);
    }
  }
  await Promise.all(clients.map((client) => client.settles()));
  const { stats } = await hub.ask('state');
  greedy.write(Buffer.concat(Array.from({ length: perConnection + 1 }, (_, n) => subscribe(`attack:greedy/${n}`))));
  await greedy.settles();
  if (!greedy.frames.some(({ text }) => text.includes('"code":"LIMIT"'))) throw new Error('nothing was refused');
  for (const client of [greedy, ...clients]) client.destroy();
  return `${stats.topics - before} topics; one more than allowed: __refused`;
}

/** A topic comes and goes, again and again. */
async function subscriptionChurn({ port, hub, churn }) {
  const client = await Raw.open(port, { keeps: false });
  const pair = [...Array(500).keys()].map((n) => Buffer.concat([subscribe(`attack:${n}`), unsubscribe(`attack:${n}`)]));
  const bytes = Buffer.concat(pair);
  const began = performance.now();
  for (let n = 0; n < churn; n += 500)
    if (!(await client.push(bytes))) throw new Error(`closed with ${client.closeCode}`);
  client.write(subscribe('attack:last'));
  await until(
    async () => (await hub.ask('subscribers', { topic: 'attack:last' })).subscribers === 1,
    'the last one',
    120_000,
  );
  client.destroy();
  const perSecond = Math.round(churn / ((performance.now() - began) / 1000));
  return `${churn} times subscribed and unsubscribed, ${perSecond} a second`;
}

export const messages = {
  'no envelopes': malformed,
  'duplicate and foreign keys': duplicateKeys,
  'forged control events': forgedControls,
  'names of JavaScript': names,
  'deep JSON': deepJson,
  'long topics': longNames,
  'topic explosion': topicExplosion,
  'subscription churn': subscriptionChurn,
};
