// `sub`: prints the events of topics until it is stopped. Does not know transports.
// Invariants: with --count N exactly N events are printed; a signal ends it in order with exit code 0; events that may be missing are told where
// they are missing.

import type { EventEnvelope, NativeTarget } from '../types.js';
import type { Command, Context } from './command.js';
import { CliFailure, exitCodes, toFailure, usage } from './failure.js';
import { aborted, tellAbout } from './link-events.js';
import { type Link, readWhere, whereNotes, whereOptions } from './where.js';

/** Longest --timeout and --wait: a day. */
export const MAX_SECONDS = 86_400;

export const sub: Command = {
  name: 'sub',
  takes: 'WHERE TOPIC…',
  summary: 'Prints the events of topics ("type:id"), one per line: the topic, a space, the payload as JSON.',
  options: {
    count: { type: 'string', value: 'N', text: 'end after N events' },
    timeout: {
      type: 'string',
      value: 'SECONDS',
      text: 'end after so long; with --count exit code 5 when events are missing',
    },
    raw: { type: 'boolean', text: 'print payloads alone, texts as they are' },
    strict: { type: 'boolean', text: 'end with exit code 5 at the first gap' },
    ...whereOptions,
  },
  notes: whereNotes,
  examples: [
    ['alkpubsub sub ws://127.0.0.1:8080 chat.msg:room1', 'events of one topic, until Ctrl-C'],
    ['alkpubsub sub redis://127.0.0.1 chat.msg:room1 --count 1 --raw', 'the payload of the next event'],
  ],
  async run(context) {
    const [place, ...topics] = context.positionals;
    if (place === undefined || topics.length === 0)
      throw usage('say where and which topics: alkpubsub sub ws://127.0.0.1:8080 chat.msg:room1');
    const settings = readSettings(context, topics);
    const where = readWhere(place, context.values);
    const connecting = where.connect({ wait: context.values.flag('wait'), signal: context.stop });
    const link = await context.terminal.during(() => `connecting to ${where.text}`, connecting);
    return listen(link, where.text, settings, context);
  },
};

interface Settings {
  readonly topics: readonly string[];
  readonly count: number;
  readonly timeoutMs: number | undefined;
  readonly isRaw: boolean;
  readonly isStrict: boolean;
}

function readSettings({ values }: Context, topics: readonly string[]): Settings {
  for (const topic of topics) checkTopic(topic);
  const seconds = values.number('timeout', 1, MAX_SECONDS);
  return {
    topics: [...new Set(topics)],
    count: values.number('count', 1, Number.MAX_SAFE_INTEGER) ?? Number.POSITIVE_INFINITY,
    timeoutMs: seconds === undefined ? undefined : seconds * 1000,
    isRaw: values.flag('raw'),
    isStrict: values.flag('strict'),
  };
}

export function checkTopic(topic: string): void {
  if (topic.startsWith('__')) throw usage(`types that begin with "__", as in "${topic}", are reserved`);
  if (topic.indexOf(':') > 0) return;
  const why = topic.startsWith(':') ? 'the type in front of its colon is empty' : 'it has no colon';
  throw usage(
    `"${topic}" is no topic, ${why}: write type:id, such as chat.msg:room1; an id may be empty, as in "chat.msg:"`,
  );
}

async function listen(link: Link, place: string, settings: Settings, context: Context): Promise<number> {
  const { target } = link;
  const { terminal, stop } = context;
  const events = tellAbout(target, place, terminal);
  const ending = new AbortController();
  let seen = 0;
  const print = ({ detail }: { readonly detail: EventEnvelope }): void => {
    if (ending.signal.aborted) return;
    show(detail, settings, context);
    seen++;
    if (seen >= settings.count) ending.abort();
  };
  for (const topic of settings.topics) target.addEventListener(topic, print);
  if (settings.isStrict) target.addEventListener('gap', () => ending.abort());
  const timer = setTimeout(() => ending.abort(), settings.timeoutMs ?? 0);
  if (settings.timeoutMs === undefined) clearTimeout(timer);
  try {
    const isOver = AbortSignal.any([stop, ending.signal]);
    const subscribed = subscribe(target, settings.topics, isOver, context);
    await Promise.race([subscribed.then(() => aborted(isOver)), aborted(isOver), failed(target)]);
  } finally {
    clearTimeout(timer);
    ending.abort();
    await link.close();
  }
  const isShort = settings.timeoutMs !== undefined && Number.isFinite(settings.count) && seen < settings.count;
  if (isShort && !stop.aborted)
    throw new CliFailure(exitCodes.lost, 'ERR_TIMED_OUT', `${seen} of ${settings.count} events came in time`);
  if (terminal.dropped > 0)
    throw new CliFailure(
      exitCodes.lost,
      'ERR_SLOW_CONSUMER',
      `${terminal.dropped} lines were dropped: nobody read them`,
    );
  return settings.isStrict && events.gaps() > 0 ? exitCodes.lost : exitCodes.done;
}

async function subscribe(target: NativeTarget, topics: readonly string[], signal: AbortSignal, { terminal }: Context) {
  const ready = Promise.all(topics.map((topic) => target.ready(topic, { signal })));
  try {
    const answers = await terminal.during(() => 'subscribing', ready);
    const acknowledged = answers.every((answer) => answer.acknowledged);
    terminal.note(`subscribed to ${topics.join(', ')}`, { event: 'subscribed', topics, acknowledged });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Rejects when the target ends by itself. */
async function failed(target: NativeTarget): Promise<never> {
  const { code, reason, error } = await target.closed;
  if (error !== undefined) throw toFailure(error);
  const why = reason === '' ? '' : ` ("${reason}")`;
  throw new CliFailure(exitCodes.link, 'ERR_CLOSED', `the other end closed the connection with ${code}${why}`);
}

function show({ type, id, payload }: EventEnvelope, { isRaw }: Settings, { terminal }: Context): void {
  const json = JSON.stringify(payload);
  const text = isRaw && typeof payload === 'string' ? payload : json;
  const line = { event: 'message', topic: `${type}:${id}`, type, id, payload };
  terminal.result(isRaw ? text : `${type}:${id} ${json}`, line, { isVerbatim: isRaw });
}
