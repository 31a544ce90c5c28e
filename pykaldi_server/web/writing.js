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

/** Segments in the order in which their first words begin. */
export function inOrder(take) {
  const startOf = (segment) => segment.words[0]?.startS ?? segment.startS;
  return [...take.segments].sort((a, b) => startOf(a) - startOf(b));
}

/** One segment per line, and what was not finished at the end. */
export function takeText(take) {
  const line = ({ channel, text }) => (channel === null ? text : `${channelName(channel)}: ${text}`);
  const unfinished = [...take.unfinished, ...take.partials].map(([channel, text]) => line({ channel, text }));
  return [...inOrder(take).map(line), ...unfinished].map((each) => `${each}\n`).join("");
}

/** The object that the server's HTTP interface answers with, and makes subtitles of. */
export function takeData(take) {
  return {
    title: take.title,
    model: take.model,
    segments: inOrder(take).map((segment) => ({
      ...(segment.channel === null ? {} : { channel: segment.channel }),
      start: segment.startS,
      end: segment.endS,
      text: segment.text,
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

/** A row per word, as spreadsheets read it (RFC 4180); per segment where words have no times. */
export function takeTable(take) {
  const rows = [["channel", "start", "end", "text", "confidence"]];
  for (const segment of inOrder(take)) {
    const channel = segment.channel === null ? "" : segment.channel + 1;
    const words = segment.words.length ? segment.words : [{ ...segment, confidence: "" }];
    for (const { startS, endS, text, confidence } of words) rows.push([channel, startS, endS, text, confidence]);
  }
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
