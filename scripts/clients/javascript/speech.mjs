/**
 * Live speech recognition by a pykaldi-server, over a connection that may break, in browsers and in Node.js: copy this
 * into your program.
 *
 *     for await (const message of new Recognition(url, { rateHz: 16000 }).messages(audio)) {
 *       if (message.result) console.log(message.result.hypotheses[0].transcript);
 *     }
 *
 * Audio is kept in memory until it has been recognised. When the connection is lost within an utterance, what was
 * already final stays, and all audio after it is sent again over the next connection.
 *
 * The messages are described in docs/protocol.md of pykaldi-server.
 */

const PIECE_BYTES = 8192;
const MOST_BUFFERED_BYTES = 256 * 1024;
const POLL_MS = 20;
const CONNECT_MS = 10000;
const [FIRST_WAIT_MS, LONGEST_WAIT_MS] = [500, 8000]; // between two attempts to connect again
const WORD_DELAY_S = 2; // a word that was spoken earlier than this before the position is in a partial result
const POSITION_BYTES = 8192; // of audio after which the server reports its position, at the latest
const SILENT_MS = 20000; // a server that owes something and has said nothing for so long is gone
const NORMAL_CLOSURE = 1000;
const NO_RECOGNISER = 9;

/** The server has ended the request with an error: `status` is its number, see "Errors" in docs/protocol.md. */
export class RefusedError extends Error {
  constructor(status, message) {
    super(`status ${status}: ${message}`);
    this.status = status;
  }
}

/** There is no connection to the server; the text says why. */
export class ConnectionLostError extends Error {}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A message of the server; one that ends the connection if it is none. */
function parse(text) {
  try {
    const message = JSON.parse(text);
    if (Number.isInteger(message?.status)) return message;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return { closed: `expected a JSON object with status, found ${String(text).slice(0, 80)}` };
}

/** What one part of a program leaves for another, which waits for it. */
class Inbox {
  #items = [];
  #wake = () => {};

  put(item) {
    this.#items.push(item);
    this.#wake();
  }

  async take() {
    while (this.#items.length === 0) await new Promise((resolve) => (this.#wake = resolve));
    return this.#items.shift();
  }
}

/** Audio that has been recorded and not yet been recognised. Places in it are counted in bytes from its start. */
class Backlog {
  start = 0;
  #audio = new Uint8Array(0);
  #head = 0; // what is kept of `#audio` is from here
  #tail = 0; // to here
  #isComplete = false;
  #failure = null;
  #grown = () => {};

  get end() {
    return this.start + this.#tail - this.#head;
  }

  /** Takes in all audio as it comes, also while there is no connection. */
  async fill(audio) {
    try {
      for await (const piece of audio) this.#add(piece);
    } catch (error) {
      this.#failure = error;
    }
    this.#isComplete = true;
    this.#grown();
  }

  #add(piece) {
    if (this.#tail + piece.length > this.#audio.length) {
      const kept = this.#audio.subarray(this.#head, this.#tail);
      this.#audio = new Uint8Array(2 * (kept.length + piece.length));
      this.#audio.set(kept);
      [this.#head, this.#tail] = [0, kept.length];
    }
    this.#audio.set(piece, this.#tail);
    this.#tail += piece.length;
    this.#grown();
  }

  /** The audio from a place on, or a piece of it; waits until there is some. Empty at the end. */
  async read(place) {
    while (place >= this.end && !this.#isComplete) await new Promise((resolve) => (this.#grown = resolve));
    const from = this.#head + place - this.start;
    return this.#audio.slice(from, Math.min(from + PIECE_BYTES, this.#tail));
  }

  /** Drops the audio before a place: it has been recognised. */
  forget(place) {
    if (place <= this.start) return;
    this.#head += place - this.start;
    this.start = place;
  }

  /** Throws what the source of the audio has thrown. */
  check() {
    if (this.#failure) throw this.#failure;
  }
}

/** Audio that goes to a server, over as many connections as it takes. */
export class Recognition {
  #url;
  #format;
  #adaptationState;
  #patienceS;
  #WebSocket;
  #backlog = new Backlog();

  /**
   * @param {string} url  address of the server, such as ws://localhost:8888/client/ws/speech
   * @param {object} format  of the audio: signed 16-bit samples, little-endian, channels interleaved
   * @param {number} format.rateHz
   * @param {number} [format.channels]
   * @param {object} [options]
   * @param {object} [options.fields]  more fields of the address, such as `model`, `user-id`, options of the request
   * @param {string} [options.token]  shown to the server, in the address: browsers know no other place
   * @param {object|null} [options.adaptationState]  what an earlier request of the same speaker had in this field of its
   *     last message
   * @param {number} [options.patienceS]  how long to try to connect again before giving up
   * @param {Function} [options.WebSocket]  a class like that of browsers, for a Node.js that has none
   */
  constructor(url, { rateHz, channels = 1 }, options = {}) {
    const { fields = {}, token = "", adaptationState = null, patienceS = 60 } = options;
    const contentType = `audio/x-raw,format=S16LE,rate=${rateHz},channels=${channels}`;
    const asked = { "content-type": contentType, queue: "true", positions: "true", ...fields, ...(token && { token }) };
    this.#url = `${url}${url.includes("?") ? "&" : "?"}${new URLSearchParams(asked)}`;
    this.#format = { rateHz, frameBytes: 2 * channels };
    this.#adaptationState = adaptationState;
    this.#patienceS = patienceS;
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
  }

  /** Up to where the audio has been recognised, in seconds; all results for it have come. */
  get recognisedS() {
    return this.#secondsOf(this.#backlog.start);
  }

  /**
   * Sends audio as it comes and yields the server's messages as they come; may be called once.
   *
   * Where the connection is lost, it also yields `{ interrupted: REASON, "resend-s": SECONDS }`, and `{ resumed: true }`
   * when the server answers again. Times of results count from the start of the audio all along.
   *
   * @param {AsyncIterable<Uint8Array>} audio  in pieces, at the pace at which it shall be sent. What it throws is thrown
   *     here, after the results of what it had yielded.
   * @throws {RefusedError} the server has sent an error
   * @throws {ConnectionLostError} the server could not be reached, at the start or for `patienceS`
   */
  async *messages(audio) {
    this.#backlog.fill(audio);
    let connection = await this.#connect();
    let outage = null; // while the server is away: until when to try, and how long to wait before
    for (;;) {
      let reason;
      try {
        for await (const message of this.#exchange(connection)) {
          if (outage) yield { resumed: true };
          outage = null;
          yield message;
        }
        return this.#backlog.check();
      } catch (error) {
        const isBack = outage && error instanceof RefusedError && error.status === NO_RECOGNISER; // workers come later
        if (!isBack && !(error instanceof ConnectionLostError)) throw error;
        reason = error.message;
      }
      if (!outage) {
        outage = { untilMs: Date.now() + 1000 * this.#patienceS, waitMs: FIRST_WAIT_MS };
        yield { interrupted: reason, "resend-s": this.#secondsOf(this.#backlog.end - this.#backlog.start) };
      }
      connection = await this.#connectAgain(outage, reason);
    }
  }

  /** Fulfilled with a connection: its socket, and an inbox of its messages up to that of its end. */
  #connect() {
    return new Promise((resolve, reject) => {
      const socket = this.#open();
      const inbox = new Inbox();
      const end = (reason, isOrderly = false) => {
        clearTimeout(timer);
        inbox.put({ closed: reason, isOrderly });
        reject(new ConnectionLostError(`cannot connect: ${reason}`));
      };
      socket.binaryType = "arraybuffer";
      const timer = setTimeout(() => {
        end(`no answer for ${CONNECT_MS / 1000} s`);
        socket.close();
      }, CONNECT_MS);
      socket.addEventListener("open", () => {
        clearTimeout(timer);
        resolve({ socket, inbox });
      });
      socket.addEventListener("message", ({ data }) => inbox.put(parse(data)));
      socket.addEventListener("close", ({ code, reason }) => end(reason || `code ${code}`, code === NORMAL_CLOSURE));
      // In browsers "close" follows at once and knows more; in Node.js 20 it may never come.
      socket.addEventListener("error", (event) => setTimeout(end, 0, event.message || "no reason given"));
    });
  }

  #open() {
    try {
      return new this.#WebSocket(this.#url);
    } catch (error) {
      throw new ConnectionLostError(`cannot connect: ${error.message}`); // it is no address
    }
  }

  async #connectAgain(outage, reason) {
    while (Date.now() + outage.waitMs <= outage.untilMs) {
      await sleep(outage.waitMs);
      outage.waitMs = Math.min(2 * outage.waitMs, LONGEST_WAIT_MS);
      try {
        return await this.#connect();
      } catch (error) {
        if (!(error instanceof ConnectionLostError)) throw error;
        reason = error.message;
      }
    }
    throw new ConnectionLostError(`${reason}; given up after ${this.#patienceS} s`);
  }

  /** Sends the backlog over one connection and yields what comes, until all has been recognised. */
  async *#exchange({ socket, inbox }) {
    const first = this.#backlog.start;
    const sent = { end: first, isComplete: false };
    const heard = { end: first, hasPositions: false, atMs: Date.now() };
    let [isSpeaking, isWaiting] = [false, false]; // a partial result is not final yet; the request is in line
    this.#send(socket, sent);
    const watch = setInterval(() => {
      const isOwed = heard.hasPositions && (sent.isComplete || sent.end - heard.end > POSITION_BYTES);
      if (!isOwed || isWaiting) heard.atMs = Date.now();
      else if (Date.now() - heard.atMs > SILENT_MS) inbox.put({ closed: "the server gives no sign of life" });
    }, 1000);
    try {
      for (;;) {
        const message = await inbox.take();
        if (message.closed) {
          if (message.isOrderly && sent.isComplete) return;
          throw new ConnectionLostError(`connection lost: ${message.closed}`);
        }
        if (message.status !== 0) throw new RefusedError(message.status, message.message);
        heard.atMs = Date.now();
        if ("queue" in message) isWaiting = message.queue > 0;
        if (message.position) {
          heard.hasPositions = true;
          heard.end = first + this.#bytesOf(message.position.seconds);
          if (!isSpeaking) this.#backlog.forget(heard.end - this.#bytesOf(WORD_DELAY_S)); // silence, so far
        }
        if (message.result) {
          isSpeaking = !message.result.final;
          if (!isSpeaking) this.#backlog.forget(first + this.#bytesOf(message["total-length"]));
          for (const time of ["segment-start", "total-length"]) {
            if (time in message) message[time] += this.#secondsOf(first);
          }
        }
        yield message;
      }
    } finally {
      clearInterval(watch);
      socket.close();
    }
  }

  async #send(socket, sent) {
    const isOpen = () => socket.readyState === this.#WebSocket.OPEN;
    if (this.#adaptationState) socket.send(JSON.stringify({ adaptation_state: this.#adaptationState }));
    for (;;) {
      const piece = await this.#backlog.read(sent.end);
      if (!isOpen()) return;
      if (piece.length === 0) break;
      socket.send(piece);
      sent.end += piece.length;
      while (isOpen() && socket.bufferedAmount > MOST_BUFFERED_BYTES) await sleep(POLL_MS);
    }
    socket.send("EOS");
    sent.isComplete = true;
  }

  #bytesOf(seconds) {
    return Math.round(seconds * this.#format.rateHz) * this.#format.frameBytes;
  }

  #secondsOf(bytes) {
    return bytes / (this.#format.rateHz * this.#format.frameBytes);
  }
}
