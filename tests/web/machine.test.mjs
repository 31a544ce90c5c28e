import assert from "node:assert/strict";
import { test } from "node:test";

import { failureOf } from "../../pykaldi_server/web/failures.js";
import {
  MOST_FAULTS, describeState, initialState, isActive, isOver, isRecording, retryDelayMs, step,
} from "../../pykaldi_server/web/machine.js";

const LOST = { text: "gone", remedy: "wait", retryAfterS: 0, isFault: false };
const FAULT = { ...LOST, isFault: true };
const EVENTS = [
  { type: "begin" }, { type: "retry" }, { type: "open" }, { type: "place", place: 2 }, { type: "place", place: 0 },
  { type: "served" }, { type: "progress" }, { type: "stop" }, { type: "sent" }, { type: "lose", failure: LOST },
  { type: "lose", failure: FAULT }, { type: "close" }, { type: "fail", failure: LOST }, { type: "cancel" }, { type: "again" },
];

const run = (phase, ...events) => events.reduce(step, initialState(phase));

test("a recording from the microphone's permission to its last word", () => {
  const phases = ["begin", "open", "stop", "sent", "close"].map((_, index, types) =>
    run("asking", ...types.slice(0, index + 1).map((type) => ({ type }))).phase,
  );
  assert.deepEqual(phases, ["connecting", "running", "running", "finishing", "done"]);
});

test("every state has a name, and every event a state to lead to, whatever comes", () => {
  const seen = new Map();
  const open = [initialState("asking"), initialState("listed")];
  while (open.length) {
    const state = open.pop();
    const key = JSON.stringify({ ...state, attempts: Math.min(state.attempts, 9), faults: Math.min(state.faults, 9) });
    if (seen.has(key)) continue;
    seen.set(key, state);
    assert.ok(describeState(state, true) && describeState(state, false));
    for (const event of EVENTS) {
      const next = step(state, event);
      if (isOver(state) && event.type !== "again") assert.equal(next, state);
      if (event.type === "cancel" && !isOver(state)) assert.equal(next.phase, "cancelled");
      if (next.phase === "reconnecting") assert.ok(next.failure);
      if (next.phase === "done") assert.equal(next.failure, null);
      if (next.attempts < 6) open.push(next);
    }
  }
  const phases = new Set([...seen.values()].map(({ phase }) => phase));
  assert.equal(phases.size, 10);
});

test("what the machine does not know is refused", () => {
  assert.throws(() => step(initialState("listed"), { type: "dance" }), /expected an event .* found dance/);
});

test("a lost connection is tried again, and the person may stop meanwhile", () => {
  const lost = run("asking", { type: "begin" }, { type: "open" }, { type: "lose", failure: LOST });
  assert.equal(lost.phase, "reconnecting");
  assert.ok(isActive(lost) && isRecording(lost));
  const stopped = step(lost, { type: "stop" });
  assert.equal(stopped.phase, "reconnecting");
  assert.ok(!isRecording(stopped));
  const served = [{ type: "retry" }, { type: "open" }, { type: "served" }].reduce(step, stopped);
  assert.deepEqual([served.phase, served.failure, served.attempts], ["running", null, 0]);
});

test("a fault that comes again and again ends the work, unless there was progress in between", () => {
  const again = [{ type: "retry" }, { type: "open" }, { type: "served" }, { type: "lose", failure: FAULT }];
  let state = run("listed", { type: "begin" }, { type: "open" }, { type: "lose", failure: FAULT });
  for (let faults = 1; faults < MOST_FAULTS; faults++) {
    assert.equal(state.phase, "reconnecting");
    state = again.reduce(step, state);
  }
  assert.equal(state.phase, "failed");
  assert.match(state.failure.remedy, /tried several times/);
  const lost = run("listed", { type: "begin" }, { type: "open" }, { type: "lose", failure: FAULT });
  const better = [{ type: "retry" }, { type: "open" }, { type: "progress" }].reduce(step, lost);
  assert.equal(better.faults, 0);
});

test("a lost connection never ends the work", () => {
  let state = run("listed", { type: "begin" });
  for (let i = 0; i < 100; i++) {
    state = step(step(state, { type: "lose", failure: LOST }), { type: "retry" });
    assert.equal(state.phase, "connecting");
  }
});

test("who was sent to wait after all had been sent is finishing, not listening", () => {
  const state = run(
    "listed", { type: "begin" }, { type: "open" }, { type: "sent" }, { type: "place", place: 3 }, { type: "place", place: 0 },
  );
  assert.equal(state.phase, "finishing");
});

test("attempts come at growing distances, and not before the server wants them", () => {
  const delays = [1, 2, 3, 6, 40].map((attempts) => retryDelayMs({ attempts, failure: LOST }));
  assert.deepEqual(delays, [500, 1000, 2000, 10_000, 10_000]);
  assert.equal(retryDelayMs({ attempts: 1, failure: { retryAfterS: 7 } }), 7000);
});

test("what is said of waiting names the place", () => {
  const waiting = { ...run("asking", { type: "begin" }), phase: "waiting" };
  const texts = [1, 2, 3, 4, 11, 22].map((place) => describeState({ ...waiting, place }, true));
  assert.deepEqual(texts, ["1st", "2nd", "3rd", "4th", "11th", "22nd"].map((each) => `Waiting: ${each} in line`));
  assert.equal(describeState({ ...waiting, place: 1 }, false), "Waiting: 1st in line; what you say is kept");
});

test("failures name the file or the model, and a way out", () => {
  const file = { name: "talk.pdf", model: "english", isFile: true };
  const unreadable = failureOf({ status: 3, message: "expected audio, found a PDF document." }, file);
  assert.equal(unreadable.text, "talk.pdf cannot be read as audio (expected audio, found a PDF document).");
  assert.match(unreadable.remedy, /Open a recording or a video/);
  assert.equal(unreadable.retryAfterS, null);
  const fault = failureOf({ status: 2, message: "expected a number, found x." }, file);
  assert.equal(fault.text, "The server stopped in the middle of talk.pdf (expected a number, found x).");
  const silence = failureOf({ status: 1, message: "no audio came within 30 s" }, file);
  assert.match(silence.text, /talk\.pdf .* \(no audio came within 30 s\)/);
  assert.doesNotMatch(silence.remedy, /microphone/);
  assert.match(failureOf({ status: 1 }, { ...file, isFile: false }).remedy, /microphone/);
  assert.equal(failureOf({ status: 9, "retry-after": 4 }, file).retryAfterS, 4);
  assert.equal(failureOf({ status: 9 }, file).text, "The server has no model “english”.");
  for (let status = 1; status < 12; status++) {
    const { text, remedy } = failureOf({ status }, file);
    assert.ok(text.endsWith(".") && remedy.endsWith("."), `${text} ${remedy}`);
  }
});
