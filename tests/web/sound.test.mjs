import assert from "node:assert/strict";
import { test } from "node:test";

import { Take } from "../../pykaldi_server/web/take.js";
import { outline, reduce } from "../../pykaldi_server/web/waveform.js";

test("peaks keep the loudest of each part", () => {
  assert.deepEqual(reduce([0, -3, 1, 2, 0, 5], 3), [3, 2, 5]);
  assert.deepEqual(reduce([1, 2], 600), [1, 2]);
  assert.deepEqual(reduce([], 10), []);
  const many = Float32Array.from({ length: 1001 }, (_, index) => index);
  assert.deepEqual(reduce(many, 7).at(-1), 1000);
});

test("the outline stays in its lane", () => {
  const numbers = outline([0, 0.5, 1], 22, 22).match(/[\d.]+,[\d.]+/g).map((pair) => Number(pair.split(",")[1]));
  assert.equal(numbers.length, 6);
  assert.ok(Math.min(...numbers) >= 22 && Math.max(...numbers) <= 44);
  assert.equal(outline([], 0, 10), "");
});

test("the word that is said at a time", () => {
  const take = new Take({ id: "1", title: "a", kind: "file" });
  const words = [0, 1, 3].map((start) => ({ word: `w${start}`, start, length: 1, confidence: 1 }));
  const hypotheses = [{ transcript: "w0 w1 w3", "word-alignment": words }];
  take.addFinal({ "segment-start": 10, "segment-length": 5, result: { final: true, hypotheses } });
  assert.equal(take.wordAt(11.5).index, 1);
  assert.equal(take.wordAt(10.998).index, 1);
  assert.equal(take.wordAt(12.5), null);
  assert.equal(take.wordAt(9), null);
});
