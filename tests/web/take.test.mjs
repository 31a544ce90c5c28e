import assert from "node:assert/strict";
import { test } from "node:test";

import { Take } from "../../pykaldi_server/web/take.js";
import { fileName, takeData, takeTable, takeText } from "../../pykaldi_server/web/writing.js";

const about = { id: "1", title: "talk, part 1.mp3", kind: "file", model: "english", language: "en", startedAt: 0 };

/** A final result; words have a length of half a second. */
export function final(text, startS, lengthS, more = {}) {
  const words = text.split(" ").map((word, index) => ({ word, start: index / 2, length: 0.5, confidence: 0.75 }));
  const hypotheses = [{ transcript: text, "word-alignment": words }, ...(more.others ?? [])];
  return { status: 0, "segment-start": startS, "segment-length": lengthS, result: { final: true, hypotheses }, ...more };
}

test("words get the times of the take", () => {
  const take = new Take(about);
  const segment = take.addFinal(final("one two", 1, 1.5), 10);
  assert.deepEqual([segment.startS, segment.endS], [11, 12.5]);
  assert.deepEqual(segment.words[1], { text: "two", startS: 11.5, endS: 12, confidence: 0.75 });
  assert.equal(take.endS, 12.5);
});

test("what is recognised again is not there twice", () => {
  const take = new Take(about);
  assert.ok(take.addFinal(final("one", 0, 2)));
  assert.equal(take.addFinal(final("one", 0, 2)), null);
  assert.ok(take.addFinal(final("two", 2, 2)));
  assert.equal(takeText(take), "one\ntwo\n");
});

test("segments that fall differently the second time are cut where the words are known", () => {
  const take = new Take(about);
  take.addFinal(final("a b c d e f", 0, 3));
  const segment = take.addFinal(final("a b c d e f g h", 0, 5, { others: [{ transcript: "a b c d e f gee" }] }));
  assert.deepEqual([segment.text, segment.startS, segment.endS], ["g h", 3, 5]);
  assert.deepEqual(segment.words.map(({ text, startS }) => [text, startS]), [["g", 3], ["h", 3.5]]);
  assert.deepEqual(segment.alternatives, []);
  assert.equal(takeText(take), "a b c d e f\ng h\n");
  take.setPartial("g h");
  assert.equal(take.addFinal(final("g h", 4, 2)), null, "all of it is known: only the pause after it is new");
  assert.deepEqual([take.endS, take.partials.size], [6, 0]);
  const text = { ...final("x", 5, 3), result: { hypotheses: [{ transcript: "12" }] } };
  assert.equal(take.addFinal(text).text, "12", "what has no times is not lost");
});

test("channels are independent, and in order of time when they are written", () => {
  const take = new Take(about);
  take.addFinal(final("late", 5, 1, { channel: 0 }));
  take.addFinal(final("early", 1, 1, { channel: 1 }));
  assert.equal(take.endS, 2);
  assert.equal(takeText(take), "Channel 2: early\nChannel 1: late\n");
  assert.deepEqual(takeData(take).segments.map(({ channel }) => channel), [1, 0]);
});

test("words in progress stay when the connection goes, until they have been recognised again", () => {
  const take = new Take(about);
  take.setPartial("one two");
  take.interrupt();
  assert.deepEqual([...take.unfinished], [[null, "one two"]]);
  assert.equal(takeText(take), "one two\n");
  take.setPartial("one");
  assert.equal(take.unfinished.size, 0);
  take.interrupt();
  take.addFinal(final("one two", 0, 2));
  assert.equal(take.unfinished.size, 0);
  assert.equal(take.partials.size, 0);
});

test("a text that a post-processor has changed has no words", () => {
  const event = final("one two", 0, 1);
  event.result.hypotheses[0].transcript = "12";
  assert.deepEqual(new Take(about).addFinal(event).words, []);
});

test("a take comes back from storage as it was", () => {
  const take = new Take({ ...about, splitsChannels: true });
  take.addFinal(final("one two", 0, 1, { others: [{ transcript: "won two" }] }));
  take.correct(take.segments[0], 0, "won");
  take.setPartial("three");
  const back = Take.fromJSON(JSON.parse(JSON.stringify(take)));
  assert.deepEqual(back.segments, take.segments);
  assert.equal(back.splitsChannels, true);
  assert.deepEqual([...back.unfinished], [[null, "three"]]);
  assert.deepEqual(takeData(back), takeData(take));
});

test("corrections and other readings", () => {
  const take = new Take(about);
  const segment = take.addFinal(final("one too", 0, 1, { others: [{ transcript: "won two three" }] }));
  assert.equal(take.correct(segment, 1, "two"), "one two");
  assert.equal(segment.words[1].isCorrected, true);
  assert.equal(take.correct(segment, 1, ""), "one");
  take.choose(segment, "won two three");
  assert.equal(segment.text, "won two three");
  assert.deepEqual(segment.alternatives, ["one"]);
  assert.deepEqual([segment.words[0].startS, segment.words[2].endS], [0, 0.5]);
});

test("tables and names of files", () => {
  const take = new Take(about);
  take.addFinal(final('say "hm,"', 0, 1));
  take.addFinal({ ...final("12", 4, 1, { channel: 1 }), result: { hypotheses: [{ transcript: "12" }] } });
  assert.equal(
    takeTable(take),
    'file,channel,start,end,confidence,text\n"talk, part 1.mp3",,0.000,1.000,0.750,"say ""hm,"""\n"talk, part 1.mp3",2,4.000,5.000,,12\n',
  );
  const { file, text, segments } = takeData(take);
  assert.deepEqual([file, text], [about.title, 'say "hm," 12']);
  assert.equal(segments[0].confidence, 0.75);
  assert.equal(fileName(take), "talk, part 1");
  assert.equal(fileName(new Take({ ...about, title: "a/b:c.wav" })), "a_b_c");
  assert.match(fileName(new Take({ ...about, kind: "microphone" })), /^recording \d{4}-\d\d-\d\d \d\d\.\d\d$/);
});
