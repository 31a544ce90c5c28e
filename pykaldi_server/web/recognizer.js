/**
 * One request to the server: audio goes in over a WebSocket, results come out.
 *
 * The protocol: optionally an adaptation state, binary audio, then the text "EOS"; the server answers with JSON events
 * and closes when it has sent everything.
 */

import { socketUrl } from "./addresses.js";

/** How much audio may wait in the socket before `send` holds the sender back: little, so that a cancel is soon there. */
const MAX_WAITING_BYTES = 256 * 1024;
const POLL_MS = 20;
const NORMAL_CLOSURE = 1000;

export class Recognizer {
  #socket;
  #handlers;

  /**
   * @param {object} query  fields of the address; empty ones are left out
   * @param {object|null} adaptationState  what an earlier request learned about the speaker
   * @param {object} handlers
   * @param {() => void} handlers.onOpen
   * @param {(event: object) => void} handlers.onEvent  called with each message, errors among them
   * @param {(isOrderly: boolean, reason: string) => void} handlers.onClose  called once, last
   */
  constructor(query, adaptationState, handlers) {
    this.#handlers = handlers;
    const socket = new WebSocket(socketUrl("client/ws/speech", { ...query, queue: "true", positions: "true" }));
    this.#socket = socket;
    socket.addEventListener("open", () => {
      if (adaptationState) socket.send(JSON.stringify({ adaptation_state: adaptationState }));
      this.#handlers?.onOpen();
    });
    socket.addEventListener("message", (message) => this.#handlers?.onEvent(JSON.parse(message.data)));
    socket.addEventListener("close", (event) => {
      const handlers = this.#handlers;
      this.#handlers = null;
      handlers?.onClose(event.code === NORMAL_CLOSURE, event.reason);
    });
  }

  get isOpen() {
    return this.#handlers !== null && this.#socket.readyState === WebSocket.OPEN;
  }

  /** Sends audio; fulfilled when more may be sent. */
  async send(audio) {
    if (this.isOpen) this.#socket.send(audio);
    while (this.isOpen && this.#socket.bufferedAmount > MAX_WAITING_BYTES) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Says that no more audio will come. */
  finish() {
    if (this.isOpen) this.#socket.send("EOS");
  }

  /** Gives up at once: no handler is called any more. */
  cancel() {
    this.#handlers = null;
    this.#socket.close(NORMAL_CLOSURE);
  }
}
