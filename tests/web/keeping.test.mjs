import assert from "node:assert/strict";
import { test } from "node:test";

import { Archive } from "../../pykaldi_server/web/archive.js";
import { languageName, languageOf } from "../../pykaldi_server/web/language.js";
import { LevelWatch, loudness } from "../../pykaldi_server/web/level.js";
import { Settings } from "../../pykaldi_server/web/settings.js";
import { Take } from "../../pykaldi_server/web/take.js";

/** A browser's storage, with room for so many characters. */
function storage(room = Infinity) {
  const values = Object.create({
    getItem: (key) => values[key] ?? null,
    removeItem: (key) => delete values[key],
    setItem: (key, value) => {
      if (value.length > room) throw new DOMException("full", "QuotaExceededError");
      values[key] = value;
    },
  });
  return values;
}

function take(id, startedAt = 0) {
  const made = new Take({ id, title: id, kind: "file", startedAt });
  made.addFinal({ "segment-start": 0, "segment-length": 1, result: { final: true, hypotheses: [{ transcript: id }] } });
  return made;
}

test("takes come back in the order of their begin", () => {
  const place = storage();
  const archive = new Archive(place, assert.fail);
  for (const each of [take("b", 2), take("a", 1), new Take({ id: "c", title: "c", kind: "file" })]) archive.save(each);
  archive.flush();
  assert.deepEqual(new Archive(place, assert.fail).load().map(({ id }) => id), ["a", "b"]);
  archive.forget({ id: "a" });
  assert.deepEqual(archive.load().map(({ id }) => id), ["b"]);
  archive.forgetAll();
  assert.deepEqual(archive.load(), []);
});

test("what cannot be read is dropped, a storage that is full is told, and off is off", () => {
  const place = storage();
  place["pykaldi-server/take/x"] = "{";
  place["pykaldi-server/take/y"] = "{}";
  place["another/key"] = "stays";
  assert.deepEqual(new Archive(place, assert.fail).load(), []);
  assert.deepEqual(Object.keys(place), ["another/key"]);
  let isFull = false;
  const full = new Archive(storage(10), () => (isFull = true));
  full.save(take("a"));
  full.flush();
  assert.ok(isFull);
  const off = new Archive(place, assert.fail);
  off.isOn = false;
  off.save(take("a"));
  off.flush();
  assert.deepEqual(new Archive(null, assert.fail).load(), []);
  assert.deepEqual(Object.keys(place), ["another/key"]);
});

test("settings are remembered, and damaged ones are the defaults", () => {
  const place = storage();
  const settings = new Settings(place);
  const heard = [];
  settings.onChange((name, value) => heard.push([name, value]));
  settings.set("model", "english");
  assert.deepEqual(heard, [["model", "english"]]);
  assert.equal(new Settings(place).get("model"), "english");
  assert.equal(new Settings(place).get("keepsTranscripts"), true);
  place["pykaldi-server/settings"] = "{";
  assert.equal(new Settings(place).get("model"), "");
  assert.equal(new Settings(null).get("model"), "");
});

test("a full storage takes what has room, and every switch acts", () => {
  const place = storage(600);
  let timesFull = 0;
  const archive = new Archive(place, () => timesFull++);
  const [large, small] = [take("a"), take("b")];
  large.addFinal({ "segment-start": 1, "segment-length": 1, result: { hypotheses: [{ transcript: "x".repeat(600) }] } });
  for (const each of [large, small]) archive.save(each);
  archive.flush();
  assert.deepEqual([archive.load().map(({ id }) => id), timesFull], [["b"], 1]);
  const settings = new Settings(storage(0), () => timesFull++);
  settings.onChange((name, value) => name === "keepsTranscripts" && !value && archive.forgetAll());
  settings.set("keepsTranscripts", false);
  assert.deepEqual([archive.load(), settings.get("keepsTranscripts"), timesFull], [[], false, 2]);
});

test("a microphone that is dead or hears nobody is noticed", () => {
  const watch = new LevelWatch(0);
  assert.equal(watch.add(0, 1900), null);
  assert.equal(watch.add(0, 2000), "dead");
  assert.equal(watch.add(0.01, 2100), null);
  assert.equal(watch.add(0.01, 8000), "quiet");
  watch.heard(8100);
  assert.equal(watch.add(0.01, 9000), null);
  assert.equal(watch.add(0.5, 20_000), null);
  assert.equal(watch.check(21_000), null);
  assert.equal(watch.check(22_000), "dead");
  assert.deepEqual([loudness(0), loudness(1)], [0, 1]);
});

test("languages of models", () => {
  assert.equal(languageOf("a", { a: "en-GB" }), "en-GB");
  assert.equal(languageOf("english-digits"), "en");
  assert.equal(languageOf("estonian"), "et");
  assert.equal(languageOf("vosk-model-small-de-0.15"), "de");
  assert.equal(languageOf("model7"), "");
  assert.equal(languageName("et"), "Estonian");
  assert.equal(languageName(""), "Other languages");
});
