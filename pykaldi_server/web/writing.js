/** A take as text, table or data, for files and the clipboard. Subtitles are the server's, see `downloads.js`. */

import { channelName } from "./take.js";

/** The name under which a take is saved, without an ending. */
export function fileName(take) {
  const base = take.kind === "file" ? take.title.replace(/\.[^.]{1,5}$/, "") : recordingName(take.startedAt);
  return base.replace(/[\\/:*?"<>|\p{Cc}]/gu, "_") || "transcript";
}

function recordingName(startedAt) {
  const at = new Date(startedAt);
  const two = (value) => String(value).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `recording ${day} ${two(at.getHours())}.${two(at.getMinutes())}`;
}

const firstS = (segment) => segment.words[0]?.startS ?? segment.startS;
const lastS = (segment) => segment.words.at(-1)?.endS ?? segment.endS;

/** Segments in the order in which their first words begin. */
function inOrder(take) {
  return [...take.segments].sort((a, b) => firstS(a) - firstS(b));
}

/** One segment per line, and what was not finished at the end. */
export function takeText(take) {
  const line = ({ channel, text }) => (channel === null ? text : `${channelName(channel)}: ${text}`);
  const unfinished = [...take.unfinished, ...take.partials].map(([channel, text]) => line({ channel, text }));
  return [...inOrder(take).map(line), ...unfinished].map((each) => `${each}\n`).join("");
}

/** The object that `pykaldi-server transcribe -f json` writes; the server makes subtitles of it. */
export function takeData(take) {
  const segments = inOrder(take);
  return {
    file: take.title,
    text: segments.map(({ text }) => text).join(" "),
    segments: segments.map((segment) => ({
      ...(segment.channel === null ? {} : { channel: segment.channel }),
      start: segment.startS,
      end: segment.endS,
      text: segment.text,
      ...(segment.words.length ? { confidence: confidence(segment) } : {}),
      ...(segment.alternatives.length ? { alternatives: segment.alternatives } : {}),
      words: segment.words.map(({ text, startS, endS, confidence }) => ({
        word: text,
        start: startS,
        end: endS,
        confidence,
      })),
    })),
  };
}

/** A row per segment, as `pykaldi-server transcribe -f csv` writes it (RFC 4180). */
export function takeTable(take) {
  const rows = inOrder(take).map((segment) => [
    take.title,
    segment.channel === null ? "" : segment.channel + 1,
    firstS(segment).toFixed(3),
    lastS(segment).toFixed(3),
    segment.words.length ? confidence(segment).toFixed(3) : "",
    segment.text,
  ]);
  const head = ["file", "channel", "start", "end", "confidence", "text"];
  return [head, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

/** The mean over the words. */
function confidence({ words }) {
  return Math.round((1000 * words.reduce((sum, word) => sum + word.confidence, 0)) / words.length) / 1000;
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
