import assert from "node:assert/strict";
import { test } from "node:test";

import { Job } from "../../pykaldi_server/web/job.js";
import { isRecording } from "../../pykaldi_server/web/machine.js";
import { FileSource, Recording } from "../../pykaldi_server/web/source.js";
import { Take } from "../../pykaldi_server/web/take.js";

/** A server that the test speaks for: `connections` has what the job has connected to. */
class World {
  connections = [];
  changes = [];
  nowMs = 0;

  serverName = () => "here";
  now = () => this.nowMs;
  askForAccess = (reason) => (reason === "token" ? Promise.resolve() : null);

  onChange = (job, change) => {
    this.changes.push([job.state.phase, change]);
    for (const wake of this.wakers.splice(0)) wake();
  };

  wakers = [];

  connect = (handlers) => {
    const connection = {
      ...handlers,
      audio: [],
      isOpen: true,
      isFinished: false,
      isCancelled: false,
      send: async (data) => connection.audio.push(Buffer.from(data)),
      finish: () => (connection.isFinished = true),
      cancel: () => (connection.isCancelled = true),
      lose: (reason = "") => {
        connection.isOpen = false;
        handlers.onClose(false, reason);
      },
      end: () => {
        connection.isOpen = false;
        handlers.onClose(true, "");
      },
    };
    this.connections.push(connection);
    return connection;
  };

  /** Waits for a condition, which can only change by what the job does. */
  async until(condition) {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  }
}

const final = (text, startS, lengthS) => ({
  status: 0,
  "segment-start": startS,
  "segment-length": lengthS,
  result: { final: true, hypotheses: [{ transcript: text }] },
});
const partial = (text) => ({ status: 0, result: { final: false, hypotheses: [{ transcript: text }] } });

function setUp(kind, source) {
  const world = new World();
  const job = new Job(new Take({ id: "1", title: "a.wav", kind, model: "m" }), source, world);
  return { world, job, take: job.take };
}

test("a recording goes on after a loss, from the end of what has been recognised", async () => {
  const recording = new Recording(1000);
  const { world, job, take } = setUp("microphone", null);
  job.begin(recording);
  recording.append(Int16Array.from({ length: 3000 }, (_, i) => i), 0.5);
  const first = world.connections[0];
  first.onOpen();
  await world.until(() => first.audio.length === 1);
  first.onEvent(final("one", 0, 2));
  first.onEvent(partial("two"));
  first.lose();
  assert.equal(job.state.phase, "reconnecting");
  assert.deepEqual([...take.unfinished.values()], ["two"]);
  recording.append(Int16Array.of(7, 8), 0.5); // is kept
  job.retry();
  const second = world.connections[1];
  second.onOpen();
  await world.until(() => Buffer.concat(second.audio).length === 2 * 1002);
  const samples = new Int16Array(new Uint8Array(Buffer.concat(second.audio)).buffer);
  assert.deepEqual([samples[0], samples.at(-1)], [2000, 8]);
  second.onEvent(final("two", 0, 1.002));
  assert.deepEqual(take.segments.map(({ text, startS, endS }) => [text, startS, endS]), [["one", 0, 2], ["two", 2, 3.002]]);
  assert.equal(take.unfinished.size, 0);
  job.stop();
  await world.until(() => second.isFinished);
  second.end();
  assert.equal(job.state.phase, "done");
});

test("short partial results after a loss do not hide the longer ones of before", () => {
  const recording = new Recording(1000);
  recording.append(new Int16Array(9000), 0.5);
  const { world, job, take } = setUp("microphone", null);
  job.begin(recording);
  const hear = (connection, seconds, text) => {
    connection.onEvent({ status: 0, position: { bytes: 2000 * seconds, seconds } });
    connection.onEvent(partial(text));
  };
  world.connections[0].onOpen();
  world.connections[0].onEvent(final("one", 0, 2));
  hear(world.connections[0], 7, "two three four");
  for (const index of [1, 2]) {
    world.connections[index - 1].lose();
    job.retry();
    world.connections[index].onOpen();
    hear(world.connections[index], 1, "two");
    assert.deepEqual([[...take.unfinished.values()], take.partials.size], [["two three four"], 0]);
  }
  hear(world.connections[2], 5, "two three four five");
  assert.deepEqual([take.unfinished.size, [...take.partials.values()]], [0, ["two three four five"]]);
  job.cancel();
});

test("a file is sent again from its start, and nothing of it is there twice", async () => {
  const source = new FileSource(new Blob([new Uint8Array(100_000)]));
  const { world, job, take } = setUp("file", source);
  job.begin();
  const first = world.connections[0];
  first.onOpen();
  await world.until(() => first.isFinished);
  assert.equal(Buffer.concat(first.audio).length, 100_000);
  first.onEvent(final("one", 0, 2));
  first.onEvent({ status: 0, position: { bytes: 50_000, seconds: 2.5 } });
  assert.equal(job.fraction, 0.5);
  first.onEvent(partial("tw"));
  first.onEvent({ status: 2, message: "the worker was lost" });
  first.end();
  assert.equal(job.state.phase, "reconnecting");
  job.retry();
  const second = world.connections[1];
  second.onOpen();
  second.onEvent(partial("on"));
  assert.deepEqual([...take.unfinished.values()], ["tw"], "what is recognised again hides nothing");
  second.onEvent(final("one", 0, 2));
  second.onEvent(final("two", 2, 2));
  await world.until(() => second.isFinished);
  second.end();
  assert.equal(job.state.phase, "done");
  assert.deepEqual(take.segments.map(({ text }) => text), ["one", "two"]);
});

test("a close before all has been sent is a loss, however orderly", async () => {
  const { world, job } = setUp("microphone", null);
  job.begin(new Recording(1000));
  world.connections[0].onOpen();
  world.connections[0].end();
  assert.equal(job.state.phase, "reconnecting");
  job.cancel();
});

test("after a cancel nothing more is heard, and the words stay", async () => {
  const { world, job, take } = setUp("microphone", null);
  const recording = new Recording(1000);
  job.begin(recording);
  world.connections[0].onOpen();
  world.connections[0].onEvent(partial("one"));
  job.cancel();
  assert.ok(world.connections[0].isCancelled && recording.isComplete);
  assert.equal(job.state.phase, "cancelled");
  assert.deepEqual([...take.unfinished.values()], ["one"]);
});

test("a refusal for ever ends the work, and says why", () => {
  const { world, job } = setUp("file", new FileSource(new Blob(["x"])));
  job.begin();
  world.connections[0].onOpen();
  world.connections[0].onEvent({ status: 3, message: "found a PDF document" });
  world.connections[0].end();
  assert.equal(job.state.phase, "failed");
  assert.match(job.state.failure.text, /a\.wav cannot be read as audio \(found a PDF document\)/);
});

test("a recording that failed is complete at once, and goes on where its words end", async () => {
  const recording = new Recording(1000);
  recording.append(new Int16Array(3000), 0.5);
  const { world, job, take } = setUp("microphone", null);
  job.begin(recording);
  world.connections[0].onOpen();
  world.connections[0].onEvent(final("one", 0, 2));
  let wasComplete = null;
  const { onChange } = world;
  world.onChange = (...change) => {
    if (job.state.phase === "failed") wasComplete ??= recording.isComplete;
    onChange(...change);
  };
  world.connections[0].onEvent({ status: 3, message: "found a picture" });
  world.connections[0].end();
  assert.ok(wasComplete);
  job.again();
  assert.ok(!isRecording(job.state));
  job.begin();
  const second = world.connections[1];
  second.onOpen();
  await world.until(() => second.isFinished);
  assert.equal(Buffer.concat(second.audio).length, 2 * 1000);
  second.onEvent(final("two", 0, 1));
  second.end();
  assert.equal(job.state.phase, "done");
  assert.deepEqual(take.segments.map(({ text }) => text), ["one", "two"]);
});

test("a mistake of the page is not taken for a file that cannot be read", async () => {
  const { world, job } = setUp("file", new FileSource(new Blob(["x"])));
  job.begin();
  const { onChange } = world;
  const runners = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection"); // it is wanted here, and seen as browsers show it
  const seen = new Promise((resolve) => process.once("unhandledRejection", resolve));
  world.onChange = (...change) => {
    if (job.state.isSent) throw new TypeError("a mistake in a view");
    onChange(...change);
  };
  world.connections[0].onOpen();
  await world.until(() => job.state.isSent || job.state.phase === "failed");
  assert.equal(job.state.phase, "finishing");
  assert.match((await seen).message, /a mistake in a view/);
  for (const runner of runners) process.on("unhandledRejection", runner);
});

test("a file that has gone from the disk is named", async () => {
  const file = { size: 10, type: "", slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException("x", "NotReadableError")) }) };
  const { world, job } = setUp("file", new FileSource(file));
  job.begin();
  world.connections[0].onOpen();
  await world.until(() => job.state.phase === "failed");
  assert.match(job.state.failure.text, /a\.wav was moved, changed or deleted/);
  assert.ok(world.connections[0].isCancelled);
});

test("when a token is missing, the work goes on once there is one", async () => {
  const { world, job } = setUp("file", new FileSource(new Blob(["x"])));
  job.begin();
  world.connections[0].onEvent({ status: 5, message: "expected the token" });
  world.connections[0].lose("token");
  await world.until(() => world.connections.length === 2);
  assert.equal(job.state.phase, "connecting");
  job.cancel();
});

test("a recording can be read in any pieces, and is a WAV file", async () => {
  const recording = new Recording(16_000);
  const all = Int16Array.from({ length: 400_000 }, (_, i) => (i * 7) % 30_000);
  for (let i = 0; i < all.length; i += 800) recording.append(all.slice(i, i + 800), 0.1);
  for (const [begin, end] of [[0, 10], [319_990, 320_010], [790_000, 900_000], [0, 800_000]]) {
    const read = new Uint8Array(await recording.read(begin, end));
    assert.deepEqual(read, new Uint8Array(all.buffer).slice(begin, end));
  }
  const wav = new DataView(await recording.blob().arrayBuffer());
  assert.deepEqual([wav.byteLength, wav.getUint32(24, true), wav.getUint32(40, true)], [800_044, 16_000, 800_000]);
  assert.equal(wav.getInt16(44 + 2 * 5, true), 35);
});
