/** Everything that lies on the page: the takes, the work on them, and what is kept of them. */

import { Job } from "./job.js";
import { isActive, isOver } from "./machine.js";
import { Take } from "./take.js";
import { freshId } from "./dom.js";

/** How many files are recognised at the same time; the others wait in the list. */
const FILES_AT_ONCE = 2;

export class Desk {
  /** @type {{take: Take, job: Job|null, source: object|null}[]} */
  entries = [];

  #world;
  #archive;

  /**
   * @param {import("./archive.js").Archive} archive
   * @param {object} world  what jobs need, see `job.js`; its `connect` gets the job, too
   * @param {(entry: object, change: object) => void} world.onChange
   * @param {(entries: object[]) => void} world.onEntries  called after takes have come or gone
   */
  constructor(archive, world) {
    this.#archive = archive;
    this.#world = world;
  }

  /** Puts out what was kept from earlier visits. */
  restore() {
    for (const take of this.#archive.load()) this.entries.push({ take, job: null, source: null });
    this.#world.onEntries(this.entries);
  }

  /** @param {{title: string, kind: "file"|"microphone", model: string, language: string}} about */
  add(about, source = null) {
    const entry = { take: new Take({ id: freshId(), ...about }), job: null, source };
    entry.job = new Job(entry.take, source, {
      ...this.#world,
      connect: (handlers) => this.#world.connect(entry, handlers),
      onChange: (_, change) => this.#changed(entry, change),
    });
    this.entries.push(entry);
    this.#world.onEntries(this.entries);
    return entry;
  }

  /** Files that wait in the list are begun as soon as there is room for them. */
  beginFiles() {
    const files = this.entries.filter(({ job }) => job?.isFile);
    let room = FILES_AT_ONCE - files.filter(({ job }) => isActive(job.state)).length;
    for (const { job } of files) {
      if (room > 0 && job.state.phase === "listed") {
        room--;
        job.begin();
      }
    }
  }

  /** What has failed or was cancelled goes on: a recording where its words end, a file from its start. */
  again({ job }) {
    job.again();
    if (job.isFile) this.beginFiles();
    else job.begin();
  }

  entryOf(take) {
    return this.entries.find((entry) => entry.take === take);
  }

  /** Takes something away for good. */
  remove(entry) {
    if (entry.job && !isOver(entry.job.state)) entry.job.cancel();
    this.#take([entry]);
  }

  /** Takes away what is done, or one entry of it; returns how to bring it back. */
  clear(gone = this.entries.filter(({ job }) => !job || isOver(job.state))) {
    const before = this.entries;
    this.#take(gone);
    return () => {
      const added = this.entries.filter((entry) => !before.includes(entry));
      this.entries = [...before.filter((entry) => gone.includes(entry) || this.entries.includes(entry)), ...added];
      for (const { take } of gone) this.#archive.save(take);
      this.#world.onEntries(this.entries);
    };
  }

  #take(gone) {
    this.entries = this.entries.filter((entry) => !gone.includes(entry));
    for (const { take } of gone) this.#archive.forget(take);
    this.#world.onEntries(this.entries);
  }

  /** A take was changed by the person. */
  save(take) {
    this.#archive.save(take);
  }

  /** Keeps everything as it is at this moment. */
  saveNow() {
    for (const { take } of this.active) this.#archive.save(take);
    this.#archive.flush();
  }

  get active() {
    return this.entries.filter(({ job }) => job && !isOver(job.state));
  }

  /** Whether leaving the page would lose something. */
  get wouldLose() {
    return this.active.length > 0 || (!this.#archive.isOn && this.entries.some(({ take }) => !take.isEmpty));
  }

  /** The server can be reached again. */
  retryAll() {
    for (const { job } of this.active) if (job.state.failure?.retryAfterS === 0) job.retry();
  }

  #changed(entry, change) {
    if (entry.job && (change.segment || isOver(entry.job.state))) this.#archive.save(entry.take);
    this.#world.onChange(entry, change);
    if (entry.job?.isFile && isOver(entry.job.state)) this.beginFiles();
  }
}
