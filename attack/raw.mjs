// A WebSocket client made of a socket and bytes: it says whatever it is told to, right or wrong, and writes down what comes back.
// Knows RFC 6455 well enough to break it. Does not decide what is a right answer.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** An answer that has not come after so long will not come. Generous, for a busy machine and a debug build. */
const PATIENCE_MS = 20_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `check` gives something true, and gives it back. */
export async function until(check, what, patienceMs = PATIENCE_MS) {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`not within ${patienceMs} ms: ${what}`);
    await sleep(5);
  }
}

/** The head of a handshake that is right, but for what is changed: `headers` are added or replaced, undefined ones left out. */
export function head(port, { method = 'GET', path = '/', version = 'HTTP/1.1', headers = {}, more = '' } = {}) {
  const fields = {
    Host: `127.0.0.1:${port}`,
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    ...headers,
  };
  const lines = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} ${version}\r\n${lines.join('')}${more}\r\n`;
}

/** One frame of a client. `length` is what it claims, `masked` false what only servers may do. */
export function frame(opcode, payload = '', { fin = true, reserved = 0, masked = true, length } = {}) {
  const body = Buffer.from(payload);
  const claimed = BigInt(length ?? body.length);
  const bit = masked ? 0x80 : 0;
  const start = Buffer.alloc(10);
  start[0] = (fin ? 0x80 : 0) | (reserved << 4) | opcode;
  let size = 2;
  if (claimed < 126n) start[1] = bit | Number(claimed);
  else if (claimed < 65_536n) {
    start[1] = bit | 126;
    size += start.writeUInt16BE(Number(claimed), 2) - 2;
  } else {
    start[1] = bit | 127;
    size += start.writeBigUInt64BE(claimed, 2) - 2;
  }
  if (!masked) return Buffer.concat([start.subarray(0, size), body]);
  const mask = randomBytes(4);
  for (let n = 0; n < body.length; n++) body[n] ^= mask[n & 3];
  return Buffer.concat([start.subarray(0, size), mask, body]);
}

export function closeFrame(code, reason = '') {
  const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
  payload.writeUInt16BE(code);
  payload.write(reason, 2);
  return frame(CLOSE, payload);
}

export function envelope(type, id, payload = null) {
  return JSON.stringify({ type, id, payload });
}

export const subscribe = (topic) => frame(TEXT, envelope('__subscribe', '', { topic }));
export const unsubscribe = (topic) => frame(TEXT, envelope('__unsubscribe', '', { topic }));
export const hello = () => frame(TEXT, envelope('__hello', '', { version: 1, role: 'spoke', features: [] }));

/** Every client whose socket is not closed. */
const open = new Set();

/** Ends what an attack has left open; says how many that were. */
export function destroyAll() {
  const left = [...open];
  for (const client of left) client.destroy();
  return left.length;
}

export class Raw {
  /** The answer's head. */
  answer = '';
  /** `{ opcode, text }` of what came after it; control frames, too. Not kept when `isCounting`. */
  frames = [];
  received = 0;
  closeCode;
  hasEnded = false;
  error;
  #rest = Buffer.alloc(0);
  #isUpgraded = false;
  #keeps;
  #answersPings;

  constructor(socket, { keeps, answersPings }) {
    this.socket = socket;
    this.#keeps = keeps;
    this.#answersPings = answersPings;
    open.add(this);
    socket.on('data', (data) => this.#read(data));
    socket.on('error', ({ code }) => {
      this.error = code;
    });
    socket.on('end', () => {
      this.hasEnded = true;
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.hasEnded = true;
        open.delete(this);
        resolve();
      });
    });
  }

  /** A socket that has said nothing. `keeps`: frames are kept, not only counted. */
  static async connect(port, { keeps = true, answersPings = true } = {}) {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: false });
    const raw = new Raw(socket, { keeps, answersPings });
    await Promise.race([once(socket, 'connect'), raw.closed]);
    if (raw.error !== undefined) throw new Error(`cannot connect: ${raw.error}`);
    return raw;
  }

  /** A connection that the hub has let in. */
  static async open(port, options = {}) {
    const raw = await Raw.connect(port, options);
    raw.write(head(port, options));
    await raw.status(101);
    return raw;
  }

  get port() {
    return this.socket.localPort;
  }

  write(bytes) {
    return this.socket.destroyed || this.socket.write(bytes);
  }

  /** Writes, and waits while the other side takes no more. False when it has gone. */
  async push(bytes) {
    if (this.write(bytes)) return !this.socket.destroyed;
    await Promise.race([once(this.socket, 'drain').catch(() => {}), this.closed]);
    return !this.socket.destroyed;
  }

  say(text) {
    return this.write(frame(TEXT, text));
  }

  /** The status of the answer is this one. */
  async status(expected) {
    await until(() => this.answer.includes('\r\n') || this.hasEnded, `an answer with status ${expected}`);
    const [, status] = /^HTTP\/1\.1 (\d+)/.exec(this.answer) ?? [];
    const wanted = Array.isArray(expected) ? expected : [expected];
    if (!wanted.includes(Number(status)))
      throw new Error(`status ${status ?? `none (${this.error ?? 'ended'})`}, expected ${wanted.join(' or ')}`);
    await until(() => this.#isUpgraded || this.hasEnded, 'the end of the answer');
    return Number(status);
  }

  /** The hub closes with this code, then the connection ends. */
  async closes(...codes) {
    await until(() => this.hasEnded, `the end, with ${codes.join(' or ')}`);
    if (!codes.includes(this.closeCode))
      throw new Error(`closed with ${this.closeCode} (${this.error ?? 'no error'}), expected ${codes.join(' or ')}`);
  }

  /** The connection ends, however it does. */
  ends() {
    return until(() => this.hasEnded, 'the end of the connection');
  }

  /** A text message that `matches` has come. */
  hears(matches, what) {
    return until(() => this.frames.some(({ opcode, text }) => opcode === TEXT && matches(text)), what);
  }

  /** Everything said before was dealt with: a ping came back. */
  async settles(patienceMs = PATIENCE_MS) {
    const token = randomBytes(8).toString('hex');
    this.write(frame(PING, token));
    await until(
      () => this.hasEnded || this.frames.some(({ opcode, text }) => opcode === PONG && text === token),
      'the answer to a ping',
      patienceMs,
    );
    if (this.hasEnded) throw new Error(`the hub closed with ${this.closeCode}`);
  }

  reset() {
    if (this.socket.destroyed || this.socket.connecting || this.socket.writableEnded) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  destroy() {
    this.socket.destroy();
  }

  #read(data) {
    if (!this.#isUpgraded) {
      this.answer += data.toString('latin1');
      const end = this.answer.indexOf('\r\n\r\n');
      if (end === -1) return;
      this.#isUpgraded = true;
      const rest = Buffer.from(this.answer.slice(end + 4), 'latin1');
      this.answer = this.answer.slice(0, end);
      if (this.answer.startsWith('HTTP/1.1 101')) this.#parse(rest);
      return;
    }
    if (this.answer.startsWith('HTTP/1.1 101')) this.#parse(data);
  }

  #parse(data) {
    let bytes = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    for (let found = readFrame(bytes); found !== undefined; found = readFrame(bytes)) {
      bytes = found.rest;
      this.#accept(found);
    }
    this.#rest = bytes;
  }

  #accept({ opcode, payload }) {
    this.received++;
    if (opcode === CLOSE) this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
    if (opcode === PING && this.#answersPings) this.write(frame(PONG, payload));
    if (this.#keeps && opcode !== PING) this.frames.push({ opcode, text: payload.toString() });
  }
}

/** One frame of a server at the start of `bytes`, if it is there as a whole. */
function readFrame(bytes) {
  if (bytes.length < 2) return undefined;
  let length = bytes[1] & 0x7f;
  let at = 2;
  if (length === 126) {
    if (bytes.length < 4) return undefined;
    length = bytes.readUInt16BE(2);
    at = 4;
  } else if (length === 127) {
    if (bytes.length < 10) return undefined;
    length = Number(bytes.readBigUInt64BE(2));
    at = 10;
  }
  if (bytes.length < at + length) return undefined;
  return { opcode: bytes[0] & 0x0f, payload: bytes.subarray(at, at + length), rest: bytes.subarray(at + length) };
}
