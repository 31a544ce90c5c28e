/** Follows the server's status over its WebSocket, and connects again when the server comes back. */

import { socketUrl } from "./addresses.js";
import { askForToken, wantsToken } from "./token.js";

const POLICY_VIOLATION = 1008;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10000;

/**
 * @param {(status: object|null) => void} onStatus  called with each status; null while there is no connection. A status
 *     with the field `refused` says that the server does not let this page know.
 * @param {object} query  fields of the address
 */
export function followStatus(onStatus, query = {}) {
  let retryMs = FIRST_RETRY_MS;
  let timer = null;

  function connect() {
    clearTimeout(timer);
    timer = null;
    const socket = new WebSocket(socketUrl("client/ws/status", query));
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
      timer = setTimeout(connect, retryMs);
      retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
    });
  }

  // No need to wait when the machine itself was offline.
  addEventListener("online", () => timer !== null && connect());
  connect();
}

/** One line about the server for people. */
export function describeStatus(status) {
  if (!status) return "The server cannot be reached; trying again …";
  if (status.refused) return "The server says nothing of itself";
  const free = status.num_workers_available;
  const busy = status.num_requests_active ?? 0;
  const waiting = status.num_requests_waiting ?? 0;
  if (free + busy === 0) return "The server is not ready yet";
  if (free > 0) return busy > 0 ? `Ready, ${busy} of ${free + busy} places taken` : "Ready";
  const taken = busy === 1 ? "The only place is taken" : `All ${busy} places taken`;
  return waiting > 0 ? `${taken}, ${waiting} waiting` : taken;
}

/** How busy the server is, as the style sheet names it: "lost", "free" or "busy". */
export function stateOf(status) {
  if (!status || status.refused) return "lost";
  return status.num_workers_available > 0 ? "free" : "busy";
}
