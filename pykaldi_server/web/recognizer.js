/**
 * One request to the server: audio goes in over a WebSocket, results come out.
 *
 * The protocol: optionally an adaptation state, binary audio, then the text "EOS"; the server answers with JSON events
 * and closes when it has sent everything.
 */

import { currentToken } from "./token.js";

/** How much audio may wait in the socket before `send` holds the sender back. */
const MAX_WAITING_BYTES = 256 * 1024;
const POLL_MS = 20;

const STATUS_TEXTS = {
  1: "No speech was found.",
  2: "The recognition was cut off.",
  3: "The audio could not be read.",
  4: "The connection was lost.",
  5: "The server does not allow this.",
  6: "The server does not allow this.",
  7: "The grammar is wrong.",
  8: "This language is not supported.",
  9: "All recognizers are busy. Try again in a moment.",
};

/** The address of a WebSocket of this server, wherever the page is served from. */
export function socketUrl(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  for (const [name, value] of Object.entries({ ...query, token: currentToken() })) {
    if (value) url.searchParams.set(name, value);
  }
  return url;
}

export class Recognizer {
  #socket;
  #failure = null;
  #opened;
  #closed;

  /**
   * @param {object} request
   * @param {string} request.contentType  what the audio is; empty lets the server look at it
   * @param {string} request.model  name of the model; empty for the server's default
   * @param {object|null} request.adaptationState  what an earlier request learned about the speaker
   * @param {(event: object) => void} onEvent  called with each result
   */
  constructor({ contentType, model, adaptationState }, onEvent) {
    const socket = new WebSocket(
      socketUrl("client/ws/speech", { "content-type": contentType, model, queue: "true" }),
    );
    this.#socket = socket;
    this.#opened = new Promise((resolve) => {
      socket.addEventListener("open", resolve, { once: true });
      socket.addEventListener("close", resolve, { once: true });
    });
    this.#closed = new Promise((resolve, reject) => {
      socket.addEventListener("close", (event) => {
        if (!this.#failure && event.code !== 1000) this.#failure = new Error(STATUS_TEXTS[4]);
        if (this.#failure) reject(this.#failure);
        else resolve();
      });
    });
    // Whoever waits for `closed` sees the failure; until then it must not count as unhandled.
    this.#closed.catch(() => {});
    socket.addEventListener("open", () => {
      if (adaptationState) socket.send(JSON.stringify({ adaptation_state: adaptationState }));
    });
    socket.addEventListener("message", (message) => {
      const event = JSON.parse(message.data);
      if (event.status === 0) onEvent(event);
      else this.#failure = new Error(STATUS_TEXTS[event.status] ?? event.message ?? "The server reports an error.");
    });
  }

  /** Fulfilled when the server has sent everything and closed; rejected with the reason of a failure. */
  get closed() {
    return this.#closed;
  }

  get isOpen() {
    return this.#socket.readyState <= WebSocket.OPEN;
  }

  /** Bytes handed to `send` that have not left the browser. */
  get waitingBytes() {
    return this.#socket.bufferedAmount;
  }

  /** Sends audio; fulfilled when more may be sent. */
  async send(audio) {
    await this.#opened;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(audio);
    while (this.isOpen && this.#socket.bufferedAmount > MAX_WAITING_BYTES) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Says that no more audio will come. */
  async finish() {
    await this.#opened;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send("EOS");
  }

  /** Gives up at once. */
  cancel() {
    this.#socket.close(1000);
  }
}
