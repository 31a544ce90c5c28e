/** Follows the server's status over its WebSocket, and connects again when the server comes back. */

import { socketUrl } from "./recognizer.js";
import { askForToken, wantsToken } from "./token.js";

const POLICY_VIOLATION = 1008;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10000;

/**
 * @param {(status: object|null) => void} onStatus  called with each status; null while there is no connection. A status
 *     with the field `refused` says that the server does not let this page know.
 */
export function followStatus(onStatus) {
  let retryMs = FIRST_RETRY_MS;

  function connect() {
    const socket = new WebSocket(socketUrl("client/ws/status"));
    socket.addEventListener("message", (message) => {
      const status = JSON.parse(message.data);
      if (status.status) return; // an error, which the close explains as well
      retryMs = FIRST_RETRY_MS;
      onStatus(status);
    });
    socket.addEventListener("close", (event) => {
      if (event.code === POLICY_VIOLATION) {
        onStatus({ refused: event.reason });
        if (wantsToken(event.reason)) askForToken().then(connect);
        return;
      }
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
  if (status.refused) return "The server keeps its status to itself";
  const free = status.num_workers_available;
  const total = free + (status.num_requests_active ?? 0);
  if (total === 0) return "Connected; no recognizer is running";
  return `${free} of ${total} recognizer${total === 1 ? "" : "s"} free`;
}

/** How busy the server is, as the style sheet names it: "lost", "free" or "busy". */
export function stateOf(status) {
  if (!status || status.refused) return "lost";
  return status.num_workers_available > 0 ? "free" : "busy";
}
