/** The status page: how busy the server is, as curves of the last minutes and as numbers. */

import { Chart } from "./charts.js";
import { byId, make, setText } from "./dom.js";
import { CURVES, History } from "./history.js";
import { languageName } from "./language.js";
import { describeStatus, followStatus, stateOf } from "./status.js";

const EVERY_S = 1;

/** What the numbers are called; those that a newer server adds appear under their own names. */
const LABELS = {
  num_workers_available: "Free places",
  num_requests_active: "Places in use",
  num_requests_waiting: "Waiting for a place",
  num_requests_processed: "Served since the start",
};

const history = new History();
const charts = CURVES.map((curve) => ({ curve, chart: new Chart(curve) }));
byId("charts").append(...charts.map(({ chart }) => chart.element));

function row(heading, values) {
  const cells = values.map((value) => make("td", { textContent: String(value) }));
  return make("tr", {}, make("th", { scope: "row", textContent: heading }), ...cells);
}

function showCharts() {
  const nowMs = performance.now();
  for (const { curve, chart } of charts) chart.show(history.points(curve), nowMs, history.top(curve));
}

followStatus(
  (status) => {
    setText(byId("summary"), describeStatus(status));
    byId("summary").dataset.state = stateOf(status);
    document.body.classList.toggle("stale", stateOf(status) === "lost");
    if (!status || status.refused) return;
    history.add(status, performance.now());
    showCharts();
    const numbers = Object.entries(status).filter(([, value]) => typeof value === "number");
    byId("numbers").replaceChildren(...numbers.map(([name, value]) => row(LABELS[name] ?? name, [value])));
    const models = Object.entries(status.models ?? {});
    byId("models").hidden = models.length === 0;
    byId("model-rows").replaceChildren(
      ...models.map(([name, { available, busy }]) => {
        const language = status.languages?.[name];
        const isDefault = name && name === status.default_model ? " (unless another is asked for)" : "";
        return row((name || "without a name") + isDefault, [language ? languageName(language) : "–", available, busy]);
      }),
    );
    setText(byId("status"), JSON.stringify(status, null, 2));
  },
  { every: EVERY_S },
);
