import assert from "node:assert/strict";
import { test } from "node:test";

import { CURVES, History, SPAN_MS, shortNumber } from "../../pykaldi_server/web/history.js";

const curve = (name) => CURVES.find((each) => each.name === name);

function status(timeS, audioS, more = {}) {
  const totals = { time_s: timeS, audio_s: audioS, cpu_s: audioS / 10, num_partials: 0, partial_delay_s: 0, num_finals: 0, final_delay_s: 0 };
  const numbers = { num_workers_available: 3, num_requests_active: 1, num_requests_waiting: 0, num_requests_processed: 5 };
  return { ...numbers, ...more, totals: { ...totals, ...more.totals } };
}

test("rates are over the last seconds", () => {
  const history = new History(2000);
  for (let second = 0; second < 10; second++) history.add(status(second, 4 * second), 1000 * second);
  const rates = history.points(curve("Speech per second")).map(({ value }) => value);
  assert.equal(rates.length, 9); // the first has nothing before it
  assert.ok(rates.every((rate) => Math.abs(rate - 4) < 1e-9));
  assert.ok(Math.abs(history.points(curve("Work per second")).at(-1).value - 0.4) < 1e-9);
  assert.equal(history.top(curve("In use")), 4);
  assert.equal(history.top(curve("Waiting in line")), 0);
});

test("a change between two ticks, which has the totals of the first, has its rate", () => {
  const history = new History(2000);
  for (let second = 0; second < 6; second++) {
    history.add(status(second, 4 * second), 1000 * second);
    history.add(status(second, 4 * second), 1000 * second + 900);
  }
  const rates = history.points(curve("Speech per second")).map(({ value }) => value);
  assert.equal(rates.length, 10); // those of the first second have nothing before them
  assert.ok(rates.every((rate) => Math.abs(rate - 4) < 1e-9), rates);
});

test("delays are means of what has come, and nothing where nothing has come", () => {
  const history = new History(10_000);
  history.add(status(0, 0), 0);
  history.add(status(1, 1, { totals: { num_partials: 4, partial_delay_s: 1 } }), 1000);
  assert.deepEqual(history.points(curve("Delay of live words")), [{ atMs: 1000, value: 0.25 }]);
  assert.deepEqual(history.points(curve("Delay of finished sentences")), []);
});

test("what is old goes, and so does what another server has said", () => {
  const history = new History(1000);
  for (let minute = 0; minute < 20; minute++) history.add(status(60 * minute, 0), 60_000 * minute);
  const { length } = history.points(curve("In use"));
  assert.ok(length <= 1 + SPAN_MS / 60_000, length);
  history.add(status(0, 0, { num_requests_processed: 0 }), 60_000 * 20);
  assert.equal(history.points(curve("In use")).length, 1);
});

test("a server without totals has no rates", () => {
  const history = new History();
  for (const atMs of [0, 1000]) history.add({ num_workers_available: 1, num_requests_processed: 0 }, atMs);
  for (const each of CURVES) assert.deepEqual(history.points(each).length, 0);
});

test("numbers are short", () => {
  assert.deepEqual([0, 7, 0.123, 12.34, 123.4].map(shortNumber), ["0", "7", "0.12", "12.3", "123"]);
});
