/**
 * Recognises a WAV file, or live audio from a pipe, on a pykaldi-server; needs Node.js 22, or `npm install ws`.
 *
 *     node client.mjs speech.wav
 *     arecord -q -f S16_LE -r 16000 -t raw -d 10 | node client.mjs --rate 16000 -
 *
 * Final results go to standard output, a line each; partial results and all else go to standard error.
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { ConnectionLostError, Recognition, RefusedError } from "./speech.mjs";

// Errors of the server are passed on as their status: 1, 2, 3, 5 or 9.
const [EXIT_USAGE, EXIT_NO_INPUT, EXIT_NO_CONNECTION, EXIT_NO_OUTPUT] = [64, 66, 69, 73]; // as sysexits.h has them
const PIECES_PER_S = 10;
const WAV_PCM = [1, 0xfffe]; // PCM, plain and extensible
const USAGE = `usage: node client.mjs [--url URL] [--rate HZ] [--paced] [--model NAME] [--user-id ID]
                       [--state FILE] [--token TOKEN] [--patience S] FILE`;

function parseOptions() {
  const text = { type: "string" };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: "string", default: "ws://localhost:8888/client/ws/speech" },
      rate: text,
      paced: { type: "boolean" },
      model: text,
      "user-id": text,
      state: text,
      token: { type: "string", default: process.env.PYKALDI_SERVER_TOKEN ?? "" },
      patience: { type: "string", default: "60" },
    },
  });
  if (positionals.length !== 1) throw new TypeError(`expected one FILE, found ${positionals.length}`);
  for (const name of ["rate", "patience"]) {
    const isRight = !(name in values) || Number(values[name]) > 0;
    if (!isRight) throw new TypeError(`--${name}: expected a number above 0, found ${values[name]}`);
  }
  return { ...values, file: positionals[0] };
}

/** The format and the samples of a WAV file. */
function parseWav(bytes) {
  const chunks = {};
  const name = (at) => bytes.toString("latin1", at, at + 4);
  if (name(0) !== "RIFF" || name(8) !== "WAVE") throw new RangeError("expected a WAV file");
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = bytes.readUInt32LE(at + 4);
    chunks[name(at).trim()] ??= bytes.subarray(at + 8, at + 8 + size);
    at += 8 + size + (size % 2);
  }
  const { fmt, data } = chunks;
  if (!data || !fmt || fmt.length < 16) throw new RangeError("expected a WAV file with chunks fmt and data");
  if (!WAV_PCM.includes(fmt.readUInt16LE(0)) || fmt.readUInt16LE(14) !== 16) {
    throw new RangeError(`expected samples of 16 bits, found ${fmt.readUInt16LE(14)}, kind ${fmt.readUInt16LE(0)}`);
  }
  return { format: { rateHz: fmt.readUInt32LE(4), channels: fmt.readUInt16LE(2) }, samples: data };
}

/** A recording in pieces; each, if paced, when it would have been spoken. */
async function* inPieces(samples, { rateHz, channels = 1 }, isPaced) {
  const beganMs = performance.now();
  const frameBytes = 2 * channels;
  const size = Math.max(1, Math.floor(rateHz / PIECES_PER_S)) * frameBytes;
  for (let start = 0; start < samples.length; start += size) {
    const piece = samples.subarray(start, start + size);
    const dueMs = beganMs + ((start + piece.length) * 1000) / (rateHz * frameBytes);
    if (isPaced) await sleep(Math.max(0, dueMs - performance.now()));
    yield piece;
  }
}

function openAudio({ file, rate, paced }) {
  const raw = { rateHz: Number(rate ?? 16000) };
  if (file === "-") return { format: raw, audio: process.stdin };
  const bytes = readFileSync(file);
  const { format, samples } = rate ? { format: raw, samples: bytes } : parseWav(bytes);
  return { format, audio: inPieces(samples, format, paced) };
}

/** Prints what is worth it. */
function show(message) {
  if (message.result) {
    const text = message.result.hypotheses[0].transcript;
    if (message.result.final) console.log(text);
    else console.error(`... ${text}`);
  } else if (message.queue) {
    console.error(`waiting: place ${message.queue} in line`);
  } else if (message.interrupted) {
    console.error(`interrupted: ${message.interrupted}; ${message["resend-s"].toFixed(2)} s of audio will be sent again`);
  } else if (message.resumed) {
    console.error("resumed");
  }
}

/** Returns the exit status. */
async function main() {
  let options, input, adaptationState;
  try {
    options = parseOptions();
  } catch (error) {
    console.error(`${USAGE}\n${error.message}`);
    return EXIT_USAGE;
  }
  try {
    input = openAudio(options);
  } catch (error) {
    console.error(`${options.file}: ${error.message}`);
    return EXIT_NO_INPUT;
  }
  const { model, "user-id": userId, state } = options;
  try {
    adaptationState = state && existsSync(state) ? JSON.parse(readFileSync(state, "utf8")) : null;
  } catch (error) {
    console.error(`${state}: ${error.message}`);
    return EXIT_NO_INPUT;
  }
  const recognition = new Recognition(options.url, input.format, {
    fields: { ...(model && { model }), ...(userId && { "user-id": userId }) },
    token: options.token,
    adaptationState,
    patienceS: Number(options.patience),
    WebSocket: globalThis.WebSocket ?? (await import("ws")).default,
  });
  try {
    for await (const message of recognition.messages(input.audio)) {
      show(message);
      if (message.adaptation_state) adaptationState = message.adaptation_state;
    }
  } catch (error) {
    if (!(error instanceof RefusedError) && !(error instanceof ConnectionLostError)) throw error;
    console.error(`${error.message}; recognised up to ${recognition.recognisedS.toFixed(2)} s`);
    return error.status ?? EXIT_NO_CONNECTION;
  }
  try {
    if (state && adaptationState) writeFileSync(state, JSON.stringify(adaptationState));
  } catch (error) {
    console.error(`${state}: ${error.message}`);
    return EXIT_NO_OUTPUT;
  }
  return 0;
}

process.exit(await main());
