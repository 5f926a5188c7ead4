// Peers made of `ws` or of nothing but a socket. They know JSON envelopes, __subscribe and __unsubscribe, and write down every frame.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { eventually, Log, within } from './facts.mjs';

export function envelope(type, id, payload) {
  return JSON.stringify({ type, id, payload });
}

/** A client that knows envelopes only. */
export class BareClient {
  /** Every message: text as string, anything else as it came. */
  frames = new Log();
  pings = 0;

  constructor(url, options) {
    this.ws = new WebSocket(url, { perMessageDeflate: false, ...options });
    this.ws.on('message', (data, isBinary) => this.frames.push(isBinary ? data : data.toString()));
    this.ws.on('ping', () => this.pings++);
    this.ws.on('error', () => {});
    this.closed = new Promise((resolve) => {
      this.ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  /** Connected, and ended with the test. */
  static async to(t, hub, options) {
    const client = new BareClient(typeof hub === 'string' ? hub : hub.address.url, options);
    t.after(() => client.ws.terminate());
    await within(once(client.ws, 'open'), 'the bare client is open');
    return client;
  }

  say(text) {
    this.ws.send(text);
  }

  publish(type, id, payload) {
    this.say(envelope(type, id, payload));
  }

  /** Plain hubs do not answer: that the hub knows the topic is looked up in the hub. */
  async subscribe(hub, ...topics) {
    for (const topic of topics) {
      const before = hub.subscribers(topic);
      this.publish('__subscribe', '', { topic });
      await eventually(() => hub.subscribers(topic) > before, `the hub knows a subscriber of ${topic}`);
    }
  }

  /** The envelopes that came. */
  get envelopes() {
    return this.frames.entries.map((frame) => JSON.parse(frame));
  }

  /** What came until an event of this topic that the caller had sent last. */
  async until(topic) {
    const isLast = (frame) => {
      const { type, id } = JSON.parse(frame);
      return `${type}:${id}` === topic;
    };
    await this.frames.has(isLast, topic);
    return this.frames.entries;
  }
}

/** A hub that knows envelopes, __subscribe and __unsubscribe only, and ignores every other control event. */
export class BareHub {
  /** Every envelope that came, control events included. */
  log = new Log();
  sockets = [];

  constructor(options) {
    const { onConnection, ...rest } = options;
    this.server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, ...rest });
    this.server.on('connection', (socket) => {
      const topics = new Set();
      this.sockets.push({ socket, topics });
      socket.on('error', () => {});
      socket.on('message', (data) => this.#receive(socket, topics, JSON.parse(data.toString())));
      onConnection?.(socket);
    });
  }

  static async start(t, options = {}) {
    const hub = new BareHub(options);
    t.after(() => hub.stop());
    await within(once(hub.server, 'listening'), 'the bare hub listens');
    return hub;
  }

  get port() {
    return this.server.address().port;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** What spokes said about topics, in order: "+topic" and "-topic". */
  get changes() {
    const signs = { __subscribe: '+', __unsubscribe: '-' };
    return this.log.entries
      .filter(({ type }) => type in signs)
      .map(({ type, payload }) => `${signs[type]}${payload.topic}`);
  }

  publish(type, id, payload) {
    for (const { socket, topics } of this.sockets) {
      if (topics.has(`${type}:${id}`)) socket.send(envelope(type, id, payload));
    }
  }

  subscribed(topic) {
    return this.log.has(({ type, payload }) => type === '__subscribe' && payload.topic === topic, `+${topic}`);
  }

  unsubscribed(topic) {
    return this.log.has(({ type, payload }) => type === '__unsubscribe' && payload.topic === topic, `-${topic}`);
  }

  /** Gone without a word, as a hub that was killed. */
  async stop() {
    for (const { socket } of this.sockets) socket.terminate();
    this.sockets = [];
    await new Promise((resolve) => this.server.close(resolve));
  }

  #receive(socket, topics, message) {
    const { type, id, payload } = message;
    if (type === '__subscribe') topics.add(payload.topic);
    else if (type === '__unsubscribe') topics.delete(payload.topic);
    else if (!type.startsWith('__')) {
      for (const other of this.sockets) {
        if (other.socket !== socket && other.topics.has(`${type}:${id}`)) {
          other.socket.send(JSON.stringify(message));
        }
      }
    }
    this.log.push(message);
  }
}

/** The bytes of a client's handshake. */
export function handshakeBytes(port, path = '/') {
  const key = randomBytes(16).toString('base64');
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${key}`,
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
}

/** The bytes of one masked text frame of a client. */
export function textFrame(text) {
  const body = Buffer.from(text);
  const mask = randomBytes(4);
  const length =
    body.length < 126
      ? Buffer.from([0x80 | body.length])
      : Buffer.from([0x80 | 126, body.length >> 8, body.length & 0xff]);
  const masked = body.map((byte, index) => byte ^ mask[index % 4]);
  return Buffer.concat([Buffer.from([0x81]), length, mask, masked]);
}

/** Handshake and first messages in one segment, as a client does that waits for nothing. */
export async function rush(t, port, ...texts) {
  const socket = connect({ port, host: '127.0.0.1' });
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  await within(once(socket, 'connect'), 'a socket');
  socket.setNoDelay(true);
  socket.write(Buffer.concat([handshakeBytes(port), ...texts.map(textFrame)]));
  return socket;
}
