/** A curve over the last minutes, as inline SVG with a text for those who do not see it. */

import { make } from "./dom.js";
import { SPAN_MS, shortNumber } from "./history.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 72;

export class Chart {
  element;

  #curve;
  #value = make("strong");
  #range = make("span.chart-range");
  #picture;
  #area;
  #line;

  /** @param {{name: string, unit: string}} curve  of `history.js` */
  constructor(curve) {
    this.#curve = curve;
    this.#picture = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.#area = shape("path", { class: "area" });
    this.#line = shape("path", { class: "line" });
    this.#picture.append(this.#area, this.#line);
    const caption = make("figcaption", {}, make("span", { textContent: curve.name }), this.#value);
    this.element = make("figure.chart", {}, caption, this.#picture, this.#range);
  }

  /**
   * @param {{atMs: number, value: number}[]} points
   * @param {number} nowMs
   * @param {number} top  what the curve can reach at most; 0 if that is not known
   */
  show(points, nowMs, top) {
    const { name, unit } = this.#curve;
    const highest = Math.max(0, ...points.map(({ value }) => value));
    const scale = Math.max(top, highest) || 1;
    const recent = points.at(-1);
    const inUnits = (value) => `${shortNumber(value)}${unit ? ` ${unit}` : ""}`;
    this.#value.textContent = recent ? inUnits(recent.value) : "–";
    const limit = top > 0 ? `, of ${inUnits(top)}` : "";
    this.#range.textContent = points.length ? `highest in 5 minutes: ${inUnits(highest)}${limit}` : "nothing yet";
    this.#picture.setAttribute("aria-label", `${name}: now ${this.#value.textContent}, ${this.#range.textContent}`);
    const places = points.map(({ atMs, value }) => ({
      x: WIDTH * (1 - (nowMs - atMs) / SPAN_MS),
      y: HEIGHT - 2 - (value / scale) * (HEIGHT - 6),
    }));
    const path = places.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
    this.#line.setAttribute("d", path ? `M${path}` : "");
    const [first, last] = [places[0], places.at(-1)];
    this.#area.setAttribute("d", path ? `M${first.x.toFixed(1)},${HEIGHT}L${path}L${last.x.toFixed(1)},${HEIGHT}Z` : "");
  }
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
