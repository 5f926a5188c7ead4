// What a spoke adds to a native target: it answers the engine's question where to connect, when the answer is a function's.
// Does not decide when to connect, and reads no options.
// Invariant: every `dial` gets exactly one answer, `provide` or `decline`.

import { PortTarget, type PortTargetOptions } from './native-target.js';
import type { NativeSpokePort, Notice } from './port.js';

export type HeaderPairs = readonly (readonly [string, string])[];

/** Where the next attempt goes. */
export interface Destination {
  readonly url: string;
  readonly headers: HeaderPairs;
}

export interface SpokeTargetOptions extends PortTargetOptions {
  /** Asked before each attempt; only when URL or headers are functions. */
  readonly destination: () => Promise<Destination>;
  /** The destination is asked for. */
  readonly asks?: boolean;
  /** The native spoke sends what a turn has published when it is told that the turn is over. */
  readonly gathers?: boolean;
}

export class SpokeTarget extends PortTarget {
  readonly #port: NativeSpokePort;
  readonly #destination: () => Promise<Destination>;
  readonly #gathers: boolean;
  #isAnnounced = false;

  constructor(port: NativeSpokePort, options: SpokeTargetOptions) {
    super(port, options);
    this.#port = port;
    this.#destination = options.destination;
    this.#gathers = options.gathers === true;
  }

  protected override send(event: CustomEvent): void {
    super.send(event);
    if (!this.#gathers || this.#isAnnounced) return;
    this.#isAnnounced = true;
    queueMicrotask(() => {
      this.#isAnnounced = false;
      if (this.state !== 'closed') this.#port.announce();
    });
  }

  protected override notice(notice: Notice): void {
    if (notice.kind === 'dial') void this.#answer(notice.token);
    else super.notice(notice);
  }

  async #answer(token: number): Promise<void> {
    try {
      const { url, headers } = await this.#destination();
      if (!this.isOver) this.#port.provide(token, url, headers);
    } catch (error) {
      if (!this.isOver) this.#port.decline(token, error instanceof Error ? error.message : String(error));
    }
  }
}
