/** The page: connects the controls, the recognizer and the transcript. */

import { Microphone, microphoneIsPossible } from "./microphone.js";
import { Recognizer } from "./recognizer.js";
import { describeStatus, followStatus, stateOf } from "./status.js";
import { Transcript } from "./transcript.js";

const FILE_PIECE_BYTES = 64 * 1024;
const element = (id) => document.getElementById(id);

const transcript = new Transcript(element("transcript"), element("word-details"));

/** What is going on: null, or {kind, recognizer, microphone?, stopping}. There is one request at a time. */
let request = null;

/** What the server has learned about the speaker, by model; kept until the page is left. */
const adaptationStates = new Map();

// Showing

function showActivity(text) {
  element("activity").textContent = text;
}

function showFailure(error) {
  element("alert").textContent = error.message;
  element("alert").hidden = false;
}

function showPartial(text) {
  element("partial").textContent = text;
  element("partial").hidden = !text;
  if (text) element("welcome").hidden = true;
  keepEndInView();
}

function showTranscriptState() {
  element("welcome").hidden = !transcript.isEmpty || request !== null;
  element("sheet-footer").hidden = transcript.isEmpty;
}

function showControls() {
  const recording = request?.kind === "microphone" && !request.stopping;
  const microphone = element("microphone");
  microphone.setAttribute("aria-pressed", String(recording));
  microphone.disabled = request !== null && !recording;
  element("microphone-label").textContent = recording ? "Stop the microphone" : "Start the microphone";
  element("upload").textContent = request?.kind === "file" ? "Cancel" : "Open a file";
  element("upload").disabled = request?.kind === "microphone";
  element("model").disabled = request !== null;
  element("progress").hidden = request?.kind !== "file";
  if (!recording) showLevel(0);
}

/** Shows the level of the microphone; `peak` is 0..1. */
function showLevel(peak) {
  // From -48 dB to full scale.
  const level = peak > 0 ? Math.max(0, 1 + Math.log10(peak) / 2.4) : 0;
  element("microphone").style.setProperty("--level", level.toFixed(3));
}

function showProgress(sentBytes, totalBytes) {
  const bar = element("progress-bar");
  if (sentBytes < totalBytes) bar.value = sentBytes / totalBytes;
  else bar.removeAttribute("value");
  const percent = Math.floor((100 * sentBytes) / totalBytes);
  element("progress-text").textContent = sentBytes < totalBytes ? `${percent} %` : "almost done";
}

function keepEndInView() {
  const { scrollHeight, clientHeight, scrollTop } = document.documentElement;
  if (scrollHeight - clientHeight - scrollTop < 240) scrollTo({ top: scrollHeight });
}

// Recognizing

function chosenModel() {
  return element("model-choice").hidden ? "" : element("model").value;
}

function ordinal(number) {
  const suffix = { one: "st", two: "nd", few: "rd", other: "th" };
  return `${number}${suffix[new Intl.PluralRules("en", { type: "ordinal" }).select(number)]}`;
}

/** Shows the place in line; 0 is that of a request that is being served. */
function showPlace(place) {
  const kept = request?.kind === "microphone" && !request.stopping ? "; what you say is kept" : "";
  showActivity(place > 0 ? `Waiting: ${ordinal(place)} in line${kept}` : (request?.activity ?? "Ready"));
}

/** Shows what the request does, whenever it does not have to wait. */
function showRequestActivity(text) {
  if (request) request.activity = text;
  showActivity(text);
}

function onEvent(event) {
  if ("queue" in event) {
    showPlace(event.queue);
  } else if (event.adaptation_state) {
    if (request?.kind === "microphone") adaptationStates.set(chosenModel(), event.adaptation_state);
  } else if (event.result?.final) {
    transcript.add(event);
    showPartial("");
    showTranscriptState();
  } else if (event.result) {
    showPartial(event.result.hypotheses[0].transcript);
  }
}

function startRequest(kind, title, contentType) {
  const adaptationState = kind === "microphone" ? (adaptationStates.get(chosenModel()) ?? null) : null;
  const recognizer = new Recognizer({ contentType, model: chosenModel(), adaptationState }, onEvent);
  request = { ...request, kind, recognizer, stopping: false };
  transcript.startTake(title);
  showControls();
  showTranscriptState();
  return recognizer;
}

async function endRequest(closed) {
  try {
    await closed;
    showActivity("Ready");
  } catch (error) {
    showFailure(error);
    showActivity("Ready");
  }
  await request?.microphone?.stop();
  request = null;
  showPartial("");
  showControls();
  showTranscriptState();
}

async function startMicrophone() {
  const microphone = new Microphone();
  request = { kind: "microphone", microphone, recognizer: null, stopping: false };
  showControls();
  showActivity("Waiting for the microphone …");
  try {
    await microphone.open();
  } catch (error) {
    const denied = error.name === "NotAllowedError";
    await endRequest(
      Promise.reject(new Error(denied ? "The microphone is not allowed." : "No microphone was found.")),
    );
    return;
  }
  const recognizer = startRequest("microphone", `Microphone, ${timeOfDay()}`, microphone.contentType);
  microphone.start((samples, peak) => {
    recognizer.send(samples);
    showLevel(peak);
  });
  showRequestActivity("Listening");
  await endRequest(recognizer.closed);
}

async function stopMicrophone() {
  if (!request.recognizer) return;
  const { microphone, recognizer } = request;
  request.stopping = true;
  request.microphone = null;
  showControls();
  showRequestActivity("Finishing …");
  await microphone.stop();
  await recognizer.finish();
}

async function transcribeFile(file) {
  // Only audio and video types help the server; without one it looks at the data.
  const contentType = /^(audio|video)\//.test(file.type) ? file.type : "";
  const recognizer = startRequest("file", file.name, contentType);
  showRequestActivity(`Transcribing ${file.name}`);
  showProgress(0, file.size);
  sendFile(file, recognizer).catch((error) => {
    recognizer.cancel();
    showFailure(new Error(`${file.name} cannot be read: ${error.message}`));
  });
  await endRequest(recognizer.closed);
}

async function sendFile(file, recognizer) {
  for (let begin = 0; begin < file.size && recognizer.isOpen; begin += FILE_PIECE_BYTES) {
    await recognizer.send(await file.slice(begin, begin + FILE_PIECE_BYTES).arrayBuffer());
    showProgress(Math.min(begin + FILE_PIECE_BYTES, file.size) - recognizer.waitingBytes, file.size);
  }
  await recognizer.finish();
  showProgress(file.size, file.size);
}

// Saving

function save(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

async function copyText() {
  await navigator.clipboard.writeText(transcript.toText());
  showActivity("Copied");
}

function timeOfDay() {
  return new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

// The server's status

function onStatus(status) {
  const line = element("status");
  line.textContent = describeStatus(status);
  line.dataset.state = stateOf(status);
  if (status && !status.refused) offerModels(Object.keys(status.models ?? {}).filter(Boolean));
}

function offerModels(names) {
  const select = element("model");
  const offered = [...select.options].map((option) => option.value);
  if (names.join("\n") !== offered.join("\n")) {
    const chosen = select.value;
    select.replaceChildren(...names.map((name) => new Option(name)));
    if (names.includes(chosen)) select.value = chosen;
  }
  element("model-choice").hidden = names.length < 2;
}

// Controls

function onFile(file) {
  if (!file || request) return;
  element("alert").hidden = true;
  transcribeFile(file);
}

element("microphone").addEventListener("click", () => {
  element("alert").hidden = true;
  if (request) stopMicrophone();
  else startMicrophone();
});
element("upload").addEventListener("click", () => {
  if (request) request.recognizer.cancel();
  else element("file").click();
});
element("file").addEventListener("change", () => {
  onFile(element("file").files[0]);
  element("file").value = "";
});
element("copy").addEventListener("click", copyText);
element("save-text").addEventListener("click", () => save(transcript.toText(), "transcript.txt", "text/plain"));
element("save-subtitles").addEventListener("click", () => {
  save(transcript.toSubtitles(), "transcript.srt", "application/x-subrip");
});
element("clear").addEventListener("click", () => {
  transcript.clear();
  showTranscriptState();
});

for (const type of ["dragenter", "dragover"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    element("drop-hint").hidden = request !== null;
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) element("drop-hint").hidden = true;
});
addEventListener("drop", (event) => {
  event.preventDefault();
  element("drop-hint").hidden = true;
  onFile(event.dataTransfer.files[0]);
});

if (!microphoneIsPossible()) {
  element("microphone").disabled = true;
  showActivity("Browsers allow the microphone only over https or on localhost; files work anywhere.");
}
followStatus(onStatus);
