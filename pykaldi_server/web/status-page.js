/** The status page: every number of the status socket, as it changes. */

import { describeStatus, followStatus, stateOf } from "./status.js";

const element = (id) => document.getElementById(id);

/** What the numbers are called; those that a newer server adds appear under their own names. */
const LABELS = {
  num_workers_available: "Free recognizers",
  num_requests_active: "Requests being served",
  num_requests_waiting: "Requests waiting for a recognizer",
  num_requests_processed: "Requests served since the start",
};

function row(heading, values) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = heading;
  line.append(head);
  for (const value of values) {
    const cell = document.createElement("td");
    cell.textContent = String(value);
    line.append(cell);
  }
  return line;
}

followStatus((status) => {
  element("summary").textContent = describeStatus(status);
  element("summary").dataset.state = stateOf(status);
  if (!status || status.refused) return;
  const numbers = Object.entries(status).filter(([, value]) => typeof value === "number");
  element("numbers").replaceChildren(...numbers.map(([name, value]) => row(LABELS[name] ?? name, [value])));
  const models = Object.entries(status.models ?? {});
  element("models").hidden = models.length === 0;
  element("model-rows").replaceChildren(
    ...models.map(([name, { available, busy }]) => row(name || "(unnamed)", [available, busy])),
  );
  element("status").textContent = JSON.stringify(status, null, 2);
});
