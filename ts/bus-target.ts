// What a bus adds to a native target: it holds the process only while it has listeners, or owes an answer.
// Does not know which medium carries the bus.

import { type BackplaneTarget, joins } from './backplane.js';
import { hold, isOpen, release } from './keep-alive.js';
import type { ReadyOptions } from './life-cycle.js';
import { PortTarget, type PortTargetOptions } from './native-target.js';
import type { NativeBackplane, NativeBusPort } from './port.js';
import { Stake } from './stake.js';
import type { CloseOptions } from './types.js';
import type { Acknowledgement } from './waiting.js';

export class BusTarget extends PortTarget implements BackplaneTarget {
  readonly #port: NativeBusPort;
  readonly #stake: Stake = new Stake(
    // An answer that comes with the end must not open the target again.
    () => isOpen(this) && hold(this),
    () => release(this),
  );

  constructor(port: NativeBusPort, options: Pick<PortTargetOptions, 'echo'>) {
    super(port, { ...options, holds: false });
    this.#port = port;
  }

  [joins](): NativeBackplane {
    return this.#port.backplane();
  }

  override ready(topic?: string, options?: ReadyOptions): Promise<Acknowledgement> {
    return this.#stake.during(super.ready(topic, options));
  }

  override flush(): Promise<void> {
    return this.#stake.during(super.flush());
  }

  override drain(): Promise<void> {
    return this.#stake.during(super.drain());
  }

  override close(options?: CloseOptions): Promise<void> {
    const isFirst = !this.isOver;
    const closing = super.close(options);
    return isFirst ? this.#stake.during(closing) : closing;
  }

  override ref(): this {
    this.#stake.ref();
    return this;
  }

  override unref(): this {
    this.#stake.unref();
    return this;
  }

  protected override listen(topic: string): void {
    super.listen(topic);
    this.#stake.add();
  }

  protected override unlisten(topic: string): void {
    super.unlisten(topic);
    this.#stake.remove();
  }
}
