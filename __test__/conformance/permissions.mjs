// The permission matrix: every action on every form of topic, by every identity, under every grant, before and after grants change.
// Does not know any transport: `makeNet` gives a hub and spokes of it. What is expected comes from an oracle of its own (regular expressions).
import assert from 'node:assert/strict';
import { createEvent } from '../../dist/index.js';
import { eventually, within } from '../websocket/facts.mjs';
import { single } from './index.mjs';

/** Forms of topics, as [type, id]. */
export const topics = [
  ['news', '1'],
  ['news', ''],
  ['news', 'a:b'],
  ['news:a', 'b'],
  ['newsx', '1'],
  ['xnews', '1'],
  ['lit*', ''],
  ['litx', ''],
  ['direct', 'app:ann'],
  ['direct', 'app:bob'],
  ['direct', 'app:a*'],
  ['direct', '{identity}'],
  ['žluť', 'ü'],
];

export const identities = [undefined, 'app:ann', 'app:a*'];

/** Grants by name; `true` is everything. */
export const grants = {
  everything: true,
  nothing: {},
  'news:*': { subscribe: ['news:*'], publish: ['news:*'] },
  'only subscribe': { subscribe: ['*'] },
  'only publish': { publish: ['*'] },
  'own direct': { subscribe: ['direct:{identity}'], publish: ['direct:*'] },
  literals: { subscribe: ['lit\\*:', 'direct:\\{identity}'], publish: ['news:1', '*ü'] },
};

export const actions = ['subscribe', 'publish'];

const escapeText = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** The oracle: a pattern as a regular expression. */
function expression(pattern, identity) {
  const source = pattern.replace(/\\(.)|(\{identity\})|(\*)|([^\\*{]+|[\\{])/g, (_, escaped, own, star, text) => {
    if (escaped !== undefined) return escapeText(escaped);
    if (own !== undefined) return identity === undefined ? '(?!)' : escapeText(identity);
    return star === undefined ? escapeText(text) : '[^]*';
  });
  return new RegExp(`^${source}$`, 'u');
}

export function isAllowed(action, topic, identity, granted) {
  if (granted === true) return true;
  return (granted[action] ?? []).some((pattern) => expression(pattern, identity).test(topic));
}

/** What was seen: `seen[phase][grant][identity]` is a list of [action, topic, allowed]. */
export class Matrix {
  cells = [];

  add(cell) {
    this.cells.push(cell);
  }

  get wrong() {
    return this.cells.filter(({ seen, expected }) => seen !== expected);
  }

  /** One table per identity: rows are topics, columns grants; `S` may subscribe, `P` may publish. */
  toMarkdown() {
    const tables = identities.map((identity) => {
      const head = ['topic', ...Object.keys(grants).map((name) => `${name}`)];
      const rows = topics.map(([type, id]) => {
        const topic = `${type}:${id}`;
        const marks = Object.keys(grants).map((grant) => this.#marks(topic, identity, grant));
        return [`\`${topic}\``, ...marks];
      });
      const line = (cells) => `| ${cells.join(' | ')} |`;
      const title = identity === undefined ? 'Nobody in particular' : `\`${identity}\``;
      return [`### ${title}`, '', line(head), line(head.map(() => '---')), ...rows.map(line), ''].join('\n');
    });
    return tables.join('\n');
  }

  #marks(topic, identity, grant) {
    const cell = (action) =>
      this.cells.find(
        (it) =>
          it.phase === 'at first' &&
          it.action === action &&
          it.topic === topic &&
          it.identity === identity &&
          it.grant === grant,
      );
    const marks = `${cell('subscribe')?.seen ? 'S' : ''}${cell('publish')?.seen ? 'P' : ''}`;
    return marks === '' ? '–' : marks;
  }
}

/**
 * Registers the matrix for one kind of net.
 * @param {(options: object) => Promise<{ hub: object, spoke(): object, own?: string, close(): Promise<void> }>} makeNet the options are a
 *   hub's; `spoke` may give a promise; `own` is the identity that the transport proves where the application gives none
 */
export function permissionMatrix(name, makeNet) {
  single(`permission matrix of ${name}`, { timeout: 120_000 }, async (t) => {
    const matrix = await runMatrix(makeNet);
    const expected = topics.length * identities.length * Object.keys(grants).length * actions.length * phases.length;
    assert.equal(matrix.cells.length, expected);
    t.diagnostic(`${expected} cells`);
    assert.deepEqual(matrix.wrong, []);
  });
}

/** Grants one after the other on one connection: as it came, wider, nothing left, and as at first again. */
const phases = ['at first', 'wider', 'taken back', 'given again'];

export async function runMatrix(makeNet) {
  const matrix = new Matrix();
  let next;
  const net = await makeNet({ authorize: { connect: () => next } });
  try {
    for (const [grant, granted] of Object.entries(grants)) {
      for (const identity of identities) {
        // An identity of its own with everything, where the answer is not just `true`.
        const lists = granted === true ? { subscribe: ['*'], publish: ['*'] } : granted;
        // The hub puts `app:` in front of what an application says.
        const name = identity?.slice('app:'.length);
        next = granted === true && identity === undefined ? true : { ...lists, ...(name && { identity: name }) };
        await inAllPhases(net, matrix, { grant, granted: lists, identity });
      }
    }
  } finally {
    await net.close();
  }
  return matrix;
}

async function inAllPhases(net, matrix, { grant, granted, identity }) {
  const spoke = await net.spoke();
  spoke.addEventListener('error', () => {});
  await within(spoke.ready(), 'the spoke is open');
  const connection = [...net.hub.connections].at(-1);
  assert.equal(connection.identity, identity ?? net.own);
  const everything = { subscribe: ['*'], publish: ['*'] };
  const changes = { 'at first': granted, wider: everything, 'taken back': {}, 'given again': granted };
  for (const phase of phases) {
    if (phase !== 'at first') connection.setGrants(changes[phase]);
    const seen = { subscribe: await whatItHears(spoke), publish: await whatItSays(net.hub, spoke) };
    for (const action of actions) {
      for (const [index, [type, id]] of topics.entries()) {
        const topic = `${type}:${id}`;
        const expected = isAllowed(action, topic, identity, changes[phase]);
        matrix.add({ phase, action, topic, identity, grant, seen: seen[action][index], expected });
      }
    }
    if (phase === 'wider') await losesAll(net.hub, spoke, connection);
  }
  await spoke.close();
}

/** Whether each topic can be subscribed to. */
async function whatItHears(spoke) {
  const listener = () => {};
  const answers = topics.map(async ([type, id]) => {
    const topic = `${type}:${id}`;
    spoke.addEventListener(topic, listener);
    const answer = spoke.ready(topic).then(
      ({ acknowledged }) => acknowledged,
      (error) => {
        assert.equal(error.code, 'ERR_FORBIDDEN');
        return false;
      },
    );
    const isHeard = await within(answer, `an answer about ${topic}`);
    spoke.removeEventListener(topic, listener);
    return isHeard;
  });
  return Promise.all(answers);
}

/** Whether what it publishes on each topic reaches the hub's own listeners. */
async function whatItSays(hub, spoke) {
  const heard = new Set();
  const listener = ({ type }) => heard.add(type);
  for (const [type, id] of topics) hub.addEventListener(`${type}:${id}`, listener);
  await hub.ready(`${topics[0][0]}:${topics[0][1]}`);
  const before = hub.stats().received;
  for (const [type, id] of topics) spoke.dispatchEvent(createEvent(type, id, null));
  await eventually(() => hub.stats().received === before + topics.length, 'the hub has got everything');
  await new Promise((resolve) => setImmediate(resolve));
  await hub.flush();
  for (const [type, id] of topics) hub.removeEventListener(`${type}:${id}`, listener);
  return topics.map(([type, id]) => heard.has(`${type}:${id}`));
}

/** With everything subscribed, grants that are taken back end every subscription at once. */
async function losesAll(hub, spoke, connection) {
  const listener = () => {};
  const names = topics.map(([type, id]) => `${type}:${id}`);
  for (const topic of names) spoke.addEventListener(topic, listener);
  await within(Promise.all(names.map((topic) => spoke.ready(topic))), 'everything is subscribed');
  for (const topic of names) assert.equal(hub.subscribers(topic), 1);
  connection.setGrants({});
  for (const topic of names) assert.equal(hub.subscribers(topic), 0);
  for (const topic of names) spoke.removeEventListener(topic, listener);
}
