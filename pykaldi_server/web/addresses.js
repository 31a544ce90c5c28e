/** Addresses of this server, wherever the page is served from. */

import { currentToken } from "./token.js";

/** The address of a WebSocket. */
export function socketUrl(path, query = {}) {
  const url = new URL(path, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  for (const [name, value] of Object.entries({ ...query, token: currentToken() })) {
    if (value) url.searchParams.set(name, value);
  }
  return url;
}

/** Sends text to the server; rejected unless it accepts that. */
export async function post(path, body, headers = {}) {
  const token = currentToken();
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(new URL(path, document.baseURI), {
    method: "POST",
    body,
    headers: { ...headers, ...authorization },
  });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `code ${answer.status}`);
  return answer;
}

/** What people call this server. */
export function serverName() {
  return location.host;
}
