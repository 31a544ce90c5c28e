/** Follows the server's status over its WebSocket, and connects again when the server comes back. */

import { socketUrl } from "./recognizer.js";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10000;

/**
 * @param {(status: object|null) => void} onStatus  called with each status; null while there is no connection
 */
export function followStatus(onStatus) {
  let retryMs = FIRST_RETRY_MS;

  function connect() {
    const socket = new WebSocket(socketUrl("client/ws/status"));
    socket.addEventListener("message", (message) => {
      retryMs = FIRST_RETRY_MS;
      onStatus(JSON.parse(message.data));
    });
    socket.addEventListener("close", () => {
      onStatus(null);
      setTimeout(connect, retryMs);
      retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
    });
  }

  connect();
}

/** One line about the server for people. */
export function describeStatus(status) {
  if (!status) return "Not connected; trying again …";
  const free = status.num_workers_available;
  const total = free + (status.num_requests_active ?? 0);
  if (total === 0) return "Connected; no recognizer is running";
  return `${free} of ${total} recognizer${total === 1 ? "" : "s"} free`;
}

/** How busy the server is, as the style sheet names it: "lost", "free" or "busy". */
export function stateOf(status) {
  if (!status) return "lost";
  return status.num_workers_available > 0 ? "free" : "busy";
}
