// A WebSocket class whose sockets are played by the test: nothing is sent, the test says what comes.

export const HELLO = '{"type":"__hello","id":"","payload":{"version":1,"role":"spoke","features":["ping"]}}';
export const HUB_HELLO = '{"type":"__hello","id":"","payload":{"version":1,"role":"hub","features":["ping"]}}';

export const envelope = (type, id, payload) => JSON.stringify({ type, id, payload });
export const subscribe = (topic, n) => envelope('__subscribe', '', { topic, n });
export const subscribed = (topic, n) => envelope('__subscribed', '', { topic, n });

export class PlayedSocket extends EventTarget {
  sent = [];
  bufferedAmount = 0;
  readyState = 0;
  /** What close() was called with. */
  closing;

  constructor(url, protocols) {
    super();
    this.url = url;
    this.protocols = protocols;
  }

  send(text) {
    this.sent.push(text);
  }

  close(code, reason) {
    this.closing ??= [code, reason];
    if (this.readyState < 2) this.readyState = 2;
  }

  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event('open'));
  }

  receive(...messages) {
    for (const data of messages) this.dispatchEvent(new MessageEvent('message', { data }));
  }

  /** The end, as a `close` event tells it. */
  end(code, reason = '') {
    this.readyState = 3;
    this.dispatchEvent(Object.assign(new Event('close'), { code, reason }));
  }
}

/** A class of played sockets, and those that were made of it. */
export function playedSockets() {
  const made = [];
  const waiting = [];
  class Played extends PlayedSocket {
    constructor(url, protocols) {
      super(url, protocols);
      made.push(this);
      // In a later turn, as a real one has nothing to tell in the turn that made it.
      setImmediate(() => waiting.shift()?.(this));
    }
  }
  /** The next socket that is made. */
  const next = () => new Promise((resolve) => waiting.push(resolve));
  return { WebSocket: Played, made, next };
}
