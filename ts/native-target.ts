// What all targets over a native port have in common: dispatch goes out through it, events and notices come in from it.
// Does not know hubs or connections (hub-target.ts) and does not load the addon.
// Invariants: Rust knows of a topic exactly while it has a listener here; events and life-cycle events reach listeners in the
// one order in which the engine queued them; an open target is never collected.

import { type Direct, dispatchEnvelope } from './direct.js';
import { PubSubError } from './errors.js';
import { Inbox } from './inbox.js';
import { forget, hold, isOpen, keep, release } from './keep-alive.js';
import type { Closing, ReadyOptions } from './life-cycle.js';
import { closedError, notSubscribed } from './life-cycle.js';
import { type Exit, Outbox } from './outbox.js';
import type { ErrorNotice, NativePort, Notice } from './port.js';
import { type Outgoing, TransportTarget } from './transport-target.js';
import type { CloseDetail, EventEnvelope, TargetStats } from './types.js';
import { type Acknowledgement, Waiters } from './waiting.js';

export interface PortTargetOptions {
  /** Own listeners hear what is dispatched here. Default false. */
  readonly echo?: boolean | undefined;
  /** False: the subclass decides when the open target holds the process. */
  readonly holds?: boolean;
}

export class PortTarget extends TransportTarget implements Direct {
  readonly #port: NativePort;
  readonly #outbox: Outbox;
  readonly #echo: boolean;
  readonly #confirmations = new Waiters<Acknowledgement>();
  readonly #flushes = new Waiters<void>();
  readonly #inbox: Inbox;

  constructor(port: NativePort, options: PortTargetOptions = {}) {
    super();
    this.#port = port;
    this.#echo = options.echo === true;
    this.#outbox = new Outbox((type, id) => port.intern(type, id));
    if (options.holds === false) keep(this);
    else hold(this);
    this.#inbox = new Inbox(port, {
      event: (topic, type, id, payload, connection) => this.receive(topic, type, id, payload, connection),
      notice: (notice) => this.notice(notice),
      malformed: (count, cause) => this.#malformed(count, cause),
    });
    this.#inbox.open();
    // Behind the turn that made the target: whatever comes unasked, or from a peer that was waiting, finds the listeners added in it.
    queueMicrotask(() => {
      if (this.state !== 'closed') port.begin();
    });
  }

  get bufferedAmount(): number {
    return this.state === 'closed' ? 0 : this.#port.bufferedAmount();
  }

  async flush(): Promise<void> {
    if (this.state !== 'closed') await this.#flushes.add(this.#port.flush());
  }

  async drain(): Promise<void> {
    if (this.state !== 'closed') await this.#flushes.add(this.#port.drained());
  }

  stats(): TargetStats {
    return this.#port.stats();
  }

  override ref(): this {
    if (isOpen(this)) hold(this);
    return this;
  }

  override unref(): this {
    release(this);
    return this;
  }

  [dispatchEnvelope](topic: string, envelope: EventEnvelope): boolean {
    // Somebody may have put something of theirs in its place.
    if (this.dispatchEvent !== PortTarget.prototype.dispatchEvent) return false;
    if (!this.isOver) this.send({ type: topic, detail: envelope });
    return true;
  }

  protected override send(event: Outgoing): void {
    const json = this.sendBy(this.#port, event);
    if (this.#echo && json !== undefined) this.#hearOwn(event, json);
  }

  /** Sends through this target's table of pairs; returns the payload's JSON when it was accepted. */
  protected sendBy(exit: Exit, event: Outgoing): string | undefined {
    return this.#outbox.send(event, exit);
  }

  /** An event came; on a spoke `connection` is 0. */
  protected receive(topic: string, type: string, id: string, payload: unknown, _connection: number): void {
    if (!this.isOver) this.emitEnvelope(topic, type, id, payload);
  }

  /** The engine tells of the link. Kinds that this class does not know are the subclass's. */
  protected notice(notice: Notice): void {
    switch (notice.kind) {
      case 'open':
        return this.opened({ reconnected: notice.reconnected, native: notice.native });
      case 'reconnecting':
        return this.lost({ attempt: notice.attempt, delayMs: notice.delayMs, cause: toError(notice.cause) });
      case 'gap': {
        const { kind: _, ...detail } = notice;
        return void this.emit('gap', detail);
      }
      case 'error':
        return this.raise(toError(notice));
      case 'closed':
        return this.#end(notice);
      case 'confirmed':
        if (notice.error === undefined)
          return this.#confirmations.resolve(notice.token, { acknowledged: notice.acknowledged });
        return this.#confirmations.reject(notice.token, toError(notice.error));
      case 'hello':
        return this.upgraded();
      case 'flushed':
      case 'drained':
        return this.#flushes.resolve(notice.token, undefined);
    }
  }

  protected override listen(topic: string): void {
    this.#port.listen(topic);
  }

  protected override unlisten(topic: string): void {
    this.#port.unlisten(topic);
    this.#confirmations.rejectTopic(topic, () => notSubscribed(topic));
  }

  protected override confirm(topic: string, { signal }: ReadyOptions): Promise<Acknowledgement> {
    return this.#confirmations.share(topic, () => this.#port.confirm(topic), signal);
  }

  protected override shutDown({ code, reason, timeoutMs }: Closing): void {
    this.#port.close(code, reason, timeoutMs);
  }

  protected override ended(detail: CloseDetail): void {
    forget(this);
    this.#inbox.close();
    this.#flushes.resolveAll(undefined);
    this.#confirmations.rejectAll(detail.error ?? closedError(detail));
    super.ended(detail);
  }

  #end({ code, reason, error }: Extract<Notice, { kind: 'closed' }>): void {
    this.ended(error === undefined ? { code, reason } : { code, reason, error: toError(error) });
  }

  /** Own listeners get what the others get: the payload as JSON made it, not the object. */
  #hearOwn(event: Outgoing, json: string): void {
    const { type, id } = event.detail as EventEnvelope;
    this.emitEnvelope(event.type, type, id, JSON.parse(json));
  }

  #malformed(count: number, cause: unknown): void {
    const message = `${count} message${count === 1 ? '' : 's'} that the engine let pass could not be parsed here; skipped`;
    this.raise(new PubSubError('ERR_MALFORMED', message, { cause, dropped: count }));
  }
}

function toError({ code, message, dropped }: ErrorNotice & { readonly dropped?: number }): PubSubError {
  return new PubSubError(code, message, dropped === undefined ? {} : { dropped });
}
