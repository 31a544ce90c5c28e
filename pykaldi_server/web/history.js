/** What the server said of itself in the last minutes, and the rates in it. No page here. */

export const SPAN_MS = 5 * 60 * 1000;

/**
 * The curves that are drawn; each takes two statuses, one a while before the other, and gives a number, or null where there
 * is nothing to say.
 */
export const CURVES = [
  { name: "In use", unit: "", value: ({ status }) => status.num_requests_active ?? null, top: placesOf },
  { name: "Waiting in line", unit: "", value: ({ status }) => status.num_requests_waiting ?? null },
  {
    name: "Speech per second",
    unit: "s",
    value: (now, before) => ratio(now, before, (totals) => totals.audio_s, secondsBetween(now, before)),
  },
  {
    name: "Work per second",
    unit: "s of CPU",
    value: (now, before) => ratio(now, before, (totals) => totals.cpu_s, secondsBetween(now, before)),
  },
  { name: "Delay of live words", unit: "s", value: (now, before) => mean(now, before, "num_partials", "partial_delay_s") },
  { name: "Delay of finished sentences", unit: "s", value: (now, before) => mean(now, before, "num_finals", "final_delay_s") },
];

function placesOf({ status }) {
  return status.num_workers_available + (status.num_requests_active ?? 0);
}

/** Between the totals, which may be older than the rest of a status; it must have some. */
const secondsBetween = (now, before) => now.status.totals?.time_s - before.status.totals?.time_s;

function ratio(now, before, total, over) {
  if (!now.status.totals || !before.status.totals || !(over > 0)) return null;
  return Math.max(0, (total(now.status.totals) - total(before.status.totals)) / over);
}

function mean(now, before, count, sum) {
  const number = (now.status.totals?.[count] ?? 0) - (before.status.totals?.[count] ?? 0);
  return number > 0 ? ratio(now, before, (totals) => totals[sum], number) : null;
}

export class History {
  #samples = [];
  #rateMs;

  /** @param {number} rateMs  rates are over this long */
  constructor(rateMs = 5000) {
    this.#rateMs = rateMs;
  }

  /** @param {object} status  of the server */
  add(status, atMs) {
    const last = this.#samples.at(-1);
    // A server that was started again counts from zero.
    const isOther = last && status.num_requests_processed < last.status.num_requests_processed;
    if (isOther) this.#samples = [];
    this.#samples.push({ status, atMs });
    while (this.#samples[0].atMs < atMs - SPAN_MS - this.#rateMs) this.#samples.shift();
  }

  /** The points of a curve that are known: when, and how much. */
  points(curve) {
    let first = 0;
    return this.#samples.flatMap((now, index) => {
      while (first < index && this.#samples[first].atMs < now.atMs - this.#rateMs) first++;
      const value = curve.value(now, this.#samples[first]);
      return value === null ? [] : [{ atMs: now.atMs, value }];
    });
  }

  /** What a curve can reach at most, where that is known. */
  top(curve) {
    const last = this.#samples.at(-1);
    return last && curve.top ? curve.top(last) : 0;
  }
}

/** A number as people read it: three digits at most. */
export function shortNumber(value) {
  if (value === 0 || Number.isInteger(value)) return String(value);
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
