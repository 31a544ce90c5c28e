/** The page: connects the controls, the desk with its takes, and what is shown of them. */

import { serverName } from "./addresses.js";
import { Archive } from "./archive.js";
import { Desk } from "./desk.js";
import { byId, setText } from "./dom.js";
import { copyText, downloadsMenu } from "./downloads.js";
import { acceptDrops } from "./drop.js";
import { Hearing } from "./hearing.js";
import { listenToKeys } from "./keyboard.js";
import { describeState, isActive, isOver } from "./machine.js";
import { microphoneIsPossible } from "./microphone.js";
import { notice, withdraw } from "./notices.js";
import { Recorder } from "./recorder.js";
import { Requests } from "./requests.js";
import { keepAwake, keepEndInView, warnBeforeLeaving } from "./screen.js";
import { deviceStorage, Settings } from "./settings.js";
import { SettingsView } from "./settings-view.js";
import { FileSource } from "./source.js";
import { describeStatus, followStatus, stateOf } from "./status.js";
import { TakeView } from "./take-view.js";
import { askForToken, wantsToken } from "./token.js";
import { showDetailsIn } from "./tooltip.js";
import { takeText } from "./writing.js";

const UNDO_MS = 30_000;

const storage = deviceStorage();
const settings = new Settings(storage, noRoom);
const archive = new Archive(storage, noRoom);
archive.isOn = settings.get("keepsTranscripts");

const requests = new Requests(settings);
const settingsView = new SettingsView(settings, () => requests.forgetVoice());
const views = new Map(); // by take

const desk = new Desk(archive, {
  serverName,
  now: () => performance.now(),
  askForAccess: (reason) => (wantsToken(reason) ? askForToken() : null),
  connect: (entry, handlers) => requests.connect(entry, handlers),
  onChange: changed,
  onEntries: showEntries,
});
const hearing = new Hearing(desk, views, settings);
const recorder = new Recorder(desk, settings, about, () => settingsView.open());

function noRoom() {
  notice("storage", "This device has no room for more. Download the transcripts that you want to keep.", { isFailure: true });
}

function about() {
  return { model: settingsView.model, language: settingsView.language };
}

// What has changed

function changed(entry, { segment, event }) {
  const { take, job } = entry;
  if (event?.adaptation_state) requests.learn(take, event.adaptation_state);
  recorder.follow(entry, { segment });
  const view = views.get(take);
  if (!view) return;
  if (segment) view.words.add(segment);
  view.show(job, performance.now());
  if (!isActive(job.state)) hearing.offer(entry);
  showActivity();
  showFooter();
  keepEndInView();
}

function showEntries(entries) {
  for (const [take, view] of views) {
    if (desk.entryOf(take)) continue;
    view.element.remove();
    views.delete(take);
  }
  hearing.forgetOthers();
  for (const { take, job } of entries) {
    if (views.has(take)) continue;
    views.set(take, new TakeView(take, actions));
    views.get(take).show(job, performance.now());
  }
  for (const entry of entries) if (!entry.job || isOver(entry.job.state)) hearing.offer(entry);
  arrange(entries.map(({ take }) => views.get(take).element));
  showActivity();
  showFooter();
  keepEndInView();
}

/** Puts elements in order; none is moved that is where it belongs, so that focus stays. */
function arrange(elements) {
  elements.forEach((element, index) => {
    const there = byId("takes").children[index];
    if (there !== element) byId("takes").insertBefore(element, there ?? null);
  });
}

function showFooter() {
  byId("welcome").hidden = desk.entries.length > 0;
  byId("sheet-footer").hidden = desk.entries.every(({ take }) => take.isEmpty);
}

function showActivity() {
  const active = desk.active.filter(({ job }) => isActive(job.state));
  const shown = active.find(({ job }) => !job.isFile) ?? active[0];
  const others = desk.active.length - 1;
  const more = others > 0 ? ` (and ${others} more)` : "";
  const text = shown ? `${describeState(shown.job.state, shown.job.isFile)}${more}` : "";
  setText(byId("activity"), text || "Ready");
  document.title = text ? `${text} – pykaldi-server` : "pykaldi-server"; // for those who look at another tab
  keepAwake(active.length > 0);
}

// What can be done with a take

const actions = {
  cancel: (take) => desk.entryOf(take).job.cancel(),
  retry: (take) => desk.entryOf(take).job.retry(),
  again: (take) => desk.again(desk.entryOf(take)),
  remove(take) {
    offerUndo(`“${take.title}” was removed.`, desk.clear([desk.entryOf(take)]));
  },
  copy: (take) => copyText(takeText(take)),
  downloads: (take) => downloadsMenu(take, () => desk.entryOf(take)?.source ?? null),
};

function offerUndo(text, undo) {
  withdraw("undo"); // what the one before would bring back is gone
  notice("undo", text, { action: { text: "Undo", onClick: undo }, lastsMs: UNDO_MS, takesFocus: true });
}

function openFiles(files) {
  withdraw("undo");
  const splitsChannels = settings.get("splitsChannels");
  for (const file of files) {
    if (file.size === 0) notice("empty", `${file.name} is empty. Open another file.`, { isFailure: true });
    else desk.add({ title: file.name, kind: "file", ...about(), splitsChannels }, new FileSource(file));
  }
  desk.beginFiles();
}

// Controls

byId("microphone").addEventListener("click", () => recorder.toggle());
byId("upload").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", () => {
  openFiles([...byId("file").files]);
  byId("file").value = "";
});
acceptDrops(openFiles);
byId("copy").addEventListener("click", () => copyText(desk.entries.map(({ take }) => takeText(take)).join("\n")));
byId("clear").addEventListener("click", () => offerUndo("Cleared.", desk.clear()));

settings.onChange((name, value) => {
  if (name !== "keepsTranscripts") return;
  archive.isOn = value;
  if (value) for (const { take } of desk.entries) archive.save(take);
  else archive.forgetAll();
});
// Phones may end a page that is out of sight without another word.
document.addEventListener("visibilitychange", () => document.hidden && desk.saveNow());
addEventListener("pagehide", () => desk.saveNow());
addEventListener("online", () => desk.retryAll());
warnBeforeLeaving(() => desk.wouldLose);
setInterval(() => {
  recorder.check();
  for (const { take, job } of desk.active) views.get(take)?.show(job, performance.now());
}, 500);

if (!microphoneIsPossible()) {
  byId("microphone").disabled = true;
  notice("microphone", "Browsers allow the microphone only over https or on localhost; files work anywhere.");
}

let wasReachable = false;
followStatus((status) => {
  setText(byId("status"), describeStatus(status));
  byId("status").dataset.state = stateOf(status);
  if (status && !status.refused) settingsView.offerModels(status, !wasReachable);
  if (status && !wasReachable) desk.retryAll();
  wasReachable = status !== null;
});
listenToKeys(
  {
    toggleMicrophone: () => byId("microphone").click(),
    openFiles: () => byId("file").click(),
    togglePlay: () => hearing.toggle(),
    openSettings: () => settingsView.open(),
  },
  () => settings.get("hasShortcuts"),
);
showDetailsIn(byId("takes"));
desk.restore();
