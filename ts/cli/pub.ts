// `pub`: publishes an argument, or each line of standard input, and ends when the other end has it. Does not know transports.
// Invariant: exit code 0 says that nothing was dropped or refused here, and that the hub, or Redis, has answered behind the last event; a
// hub that knows no acknowledgements cannot, and the output says so.

import { createEvent } from '../topic.js';
import type { NativeTarget } from '../types.js';
import type { Command, Context } from './command.js';
import { withDeadline } from './deadline.js';
import { CliFailure, exitCodes, toFailure, usage } from './failure.js';
import { MAX_LINE_BYTES, readLines } from './lines.js';
import { aborted, type LinkEvents, tellAbout } from './link-events.js';
import { checkTopic, MAX_SECONDS } from './sub.js';
import { type Link, readWhere, whereNotes, whereOptions } from './where.js';

/** Dispatched and not yet taken, at which reading waits. Source: none, a guess: well below what a spoke holds without a link. */
const PAUSE_AT_BYTES = 512 * 1024;

/** How long the answer behind the last event is waited for, in seconds, unless --timeout says otherwise. */
const DEFAULT_PATIENCE = 30;

export const pub: Command = {
  name: 'pub',
  takes: 'WHERE TOPIC [PAYLOAD]',
  summary: 'Publishes PAYLOAD, or without it each line of standard input, to one topic ("type:id").',
  options: {
    text: { type: 'boolean', text: 'payloads are text, also what would be JSON' },
    type: { type: 'string', text: 'the type of the events, where it has a colon; TOPIC must begin with it' },
    timeout: {
      type: 'string',
      value: 'SECONDS',
      text: `how long to wait for the other end's word at the end (${DEFAULT_PATIENCE})`,
    },
    ...whereOptions,
  },
  notes: [
    'A payload that is JSON is sent as that value, any other as text. The first colon of TOPIC ends the type, unless --type says otherwise.',
    `Payloads have what a hub takes, 1 MiB unless it says otherwise; with --max-bytes ${MAX_LINE_BYTES / 2 ** 20} MiB at most.`,
    'Standard input is UTF-8. At a line that cannot be sent it ends; those before are published.',
    ...whereNotes,
  ],
  examples: [
    ['alkpubsub pub ws://127.0.0.1:8080 chat.msg:room1 \'{"text":"hello"}\'', 'one event'],
    ['tail -f app.log | alkpubsub pub redis://127.0.0.1 log:app --text', 'an event for each line'],
  ],
  async run(context) {
    const { positionals, values, terminal, stop } = context;
    const [place, topic, payload, ...rest] = positionals;
    if (place === undefined || topic === undefined)
      throw usage('say where and to which topic: alkpubsub pub ws://127.0.0.1:8080 chat.msg:room1 hello');
    if (rest.length > 0) throw usage('one payload at a time: put it into quotes');
    checkTopic(topic);
    const [type, id] = split(topic, values.text('type'));
    const patienceMs = (values.number('timeout', 1, MAX_SECONDS) ?? DEFAULT_PATIENCE) * 1000;
    const where = readWhere(place, values);
    const connecting = where.connect({ wait: values.flag('wait'), signal: stop });
    const link = await terminal.during(() => `connecting to ${where.text}`, connecting);
    const events = tellAbout(link.target, where.text, terminal);
    const toEvent = (line: string): PublishedEvent => createEvent(type, id, read(line, context));
    return new Publication({ link, events, context, patienceMs, toEvent }).run(payload);
  },
};

function split(topic: string, type: string | undefined): [type: string, id: string] {
  const colon = type === undefined ? topic.indexOf(':') : type.length;
  if (type !== undefined && !topic.startsWith(`${type}:`))
    throw usage(`the topic "${topic}" does not begin with "${type}:", as --type says`);
  return [topic.slice(0, colon), topic.slice(colon + 1)];
}

function read(text: string, { values }: Context): unknown {
  if (values.flag('text')) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

type PublishedEvent = ReturnType<typeof createEvent>;

interface Job {
  readonly link: Link;
  readonly events: LinkEvents;
  readonly context: Context;
  readonly patienceMs: number;
  readonly toEvent: (line: string) => PublishedEvent;
}

class Publication {
  readonly #job: Job;
  #sent = 0;

  constructor(job: Job) {
    this.#job = job;
  }

  async run(payload: string | undefined): Promise<number> {
    const { stop, terminal } = this.#job.context;
    let confirmed = false;
    try {
      const work = payload === undefined ? this.#sendLines() : this.#send(payload);
      await terminal.during(() => `published ${this.#sent} events`, this.#orEnd(work));
      if (!stop.aborted) confirmed = await terminal.during(() => 'waiting for the answer', this.#confirm());
    } finally {
      await this.#job.link.close();
    }
    return this.#summary(confirmed);
  }

  async #sendLines(): Promise<void> {
    for await (const line of readLines(process.stdin, this.#job.context.stop))
      try {
        await this.#send(line);
      } catch (error) {
        const { exitCode, code, message } = toFailure(error);
        throw new CliFailure(exitCode, code, `line ${this.#sent + 1}: ${message}`, { cause: error });
      }
  }

  async #send(line: string): Promise<void> {
    const { target } = this.#job.link;
    target.dispatchEvent(this.#job.toEvent(line));
    this.#sent++;
    if (target.bufferedAmount > PAUSE_AT_BYTES) await target.flush();
  }

  /** Ends when the target does, or a signal comes. */
  async #orEnd<T>(work: Promise<T>): Promise<T | undefined> {
    const { target } = this.#job.link;
    const ended = target.closed.then(({ error, code, reason }) => {
      if (error !== undefined) throw toFailure(error);
      throw new CliFailure(exitCodes.link, 'ERR_CLOSED', `the other end closed the connection with ${code} ${reason}`);
    });
    try {
      return await Promise.race([work, ended, aborted(this.#job.context.stop).then(() => undefined)]);
    } finally {
      process.stdin.destroy();
    }
  }

  /**
   * True when the other end has answered behind the last event. A hub answers a subscription in the order of events, also when it refuses it;
   * to Redis, flush() waits for answers.
   */
  #confirm(): Promise<boolean> {
    const { link, patienceMs } = this.#job;
    return withDeadline(patienceMs, async (late) => {
      const word = link.isHub ? this.#ask(link.target, late) : link.target.flush().then(() => true);
      const tooLate = aborted(late).then(() => {
        const message = `no answer within ${patienceMs / 1000} s: events may be lost`;
        throw new CliFailure(exitCodes.lost, 'ERR_TIMED_OUT', message);
      });
      return (await this.#orEnd(Promise.race([word, tooLate]))) ?? false;
    });
  }

  async #ask(target: NativeTarget, signal: AbortSignal): Promise<boolean> {
    await target.flush();
    const topic = `alkpubsub.pub:${crypto.randomUUID()}`;
    const nobody = (): void => {};
    target.addEventListener(topic, nobody);
    try {
      const { acknowledged } = await target.ready(topic, { signal });
      return acknowledged;
    } catch (error) {
      // A refusal is an answer as well.
      if ((error as { code?: string }).code === 'ERR_FORBIDDEN') return true;
      throw error;
    }
  }

  #summary(confirmed: boolean): number {
    const { terminal, stop } = this.#job.context;
    const { dropped = 0, refused = 0 } = this.#job.link.target.stats();
    const sent = this.#sent;
    const gaps = this.#job.events.gaps();
    terminal.note(`published ${sent} ${sent === 1 ? 'event' : 'events'}${confirmed ? '' : ', without an answer'}`, {
      ...{ event: 'published', count: sent, confirmed, dropped, refused, gaps },
    });
    if (refused > 0)
      throw new CliFailure(
        exitCodes.lost,
        'ERR_FORBIDDEN',
        `${refused} events were refused: you may not publish there`,
      );
    if (dropped > 0) throw new CliFailure(exitCodes.lost, 'ERR_BUFFER_FULL', `${dropped} events were dropped`);
    if (gaps > 0)
      throw new CliFailure(exitCodes.lost, 'ERR_GAP', 'the connection was lost meanwhile: events may be missing');
    return stop.aborted ? exitCodes.interrupted : exitCodes.done;
  }
}
