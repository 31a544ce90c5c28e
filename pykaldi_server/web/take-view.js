/** A take on the page: its name and state, what went wrong with it, its words, and what can be done with it. */

import { button, clockTime, make, setText } from "./dom.js";
import { describeState, isActive, isOver, isRecording } from "./machine.js";
import { WordsView } from "./words-view.js";

export class TakeView {
  words;
  element;

  #take;
  #state = make("p.take-state");
  #corner = make("p.take-corner");
  #bar;
  #alert = make("div.alert", { role: "alert", hidden: true });
  #actions = make("div.take-actions", { role: "group" });
  #extras = make("div.take-extras");
  #shown = "";

  /**
   * @param {import("./take.js").Take} take
   * @param {object} actions  what the buttons do: cancel, retry, again, copy, downloads, remove, each given the take
   */
  constructor(take, actions) {
    this.#take = take;
    this.actions = actions;
    this.words = new WordsView(take.title, take.language);
    this.#bar = make("progress", { max: 1, hidden: true, "aria-label": `Progress of ${take.title}` });
    const heading = make("h2", { id: `take-${take.id}`, textContent: take.title });
    this.#actions.setAttribute("aria-label", take.title);
    this.element = make(
      "article.take",
      { "aria-labelledby": heading.id },
      make("header.take-head", {}, heading, this.#state, this.#corner, this.#actions),
      this.#bar,
      this.#extras,
      ...this.words.elements,
      this.#alert,
    );
    for (const segment of take.segments) this.words.add(segment);
    this.words.showLive(take);
  }

  /** Elements above the words, such as a player. */
  setExtras(...nodes) {
    this.#extras.replaceChildren(...nodes);
  }

  /** @param {import("./job.js").Job|null} job  null for what was kept from an earlier visit */
  show(job, nowMs) {
    const take = this.#take;
    this.words.showLive(take);
    const state = job?.state;
    this.element.dataset.phase = state?.phase ?? "kept";
    const model = take.model || "the server’s model";
    setText(this.#state, `${state ? describeState(state, job.isFile) : dateOf(take)} · ${model}`);
    setText(this.#corner, state && isActive(state) ? speedOf(job, nowMs) : "");
    this.#showProgress(job);
    this.#showFailure(state?.failure ?? null, state?.phase);
    this.#showActions(job);
  }

  #showProgress(job) {
    const fraction = job && job.isFile && isActive(job.state) ? job.fraction : null;
    this.#bar.hidden = fraction === null;
    if (fraction !== null) this.#bar.value = fraction;
  }

  #showFailure(failure, phase) {
    this.#alert.hidden = !failure;
    const waits = phase === "reconnecting";
    const content = failure ? `${failure.text} ${failure.remedy}${waits}` : "";
    if (content === this.#alert.dataset.content) return;
    this.#alert.dataset.content = content;
    if (!failure) {
      this.#alert.replaceChildren();
      return;
    }
    this.#alert.replaceChildren(
      make("p", {}, make("strong", { textContent: failure.text }), ` ${failure.remedy}`),
      ...(waits ? [button("Try now", () => this.actions.retry(this.#take))] : []),
    );
  }

  #showActions(job) {
    const state = job?.state;
    const kind = !state || isOver(state) ? `over ${state?.phase}` : isRecording(state) ? "recording" : "active";
    if (kind === this.#shown) return;
    this.#shown = kind;
    const hadFocus = this.#actions.contains(document.activeElement);
    const over = !state || isOver(state);
    const again = job?.source && (state.phase === "failed" || state.phase === "cancelled");
    this.#actions.replaceChildren(
      ...(over
        ? [
            ...(again ? [this.#button("Try again", "again")] : []),
            this.#button("Copy", "copy"),
            this.actions.downloads(this.#take),
            this.#button("Remove", "remove"),
          ]
        : [this.#button("Cancel", "cancel")]),
    );
    // Whoever has pressed one of these goes on here, not at the top of the page.
    if (hadFocus) this.#actions.querySelector("button")?.focus();
  }

  #button(text, name) {
    return button(text, () => this.actions[name](this.#take), { "aria-label": `${text}: ${this.#take.title}` });
  }
}

function dateOf(take) {
  return new Date(take.startedAt).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** How far behind live speech the words are, or how fast and how far a file is. */
function speedOf(job, nowMs) {
  const { seconds, beganMs } = job.progress;
  if (!job.isFile) {
    const behindS = Math.max(0, (job.source?.durationS ?? 0) - seconds);
    return seconds > 0 ? `${behindS.toFixed(1)} s behind` : "";
  }
  if (job.fraction === null || !seconds) return "";
  const tookS = (nowMs - beganMs) / 1000;
  const speed = tookS > 0.5 ? `, ${Math.max(0.1, job.speed(nowMs)).toFixed(1)} × real time` : "";
  return `${Math.floor(100 * job.fraction)} %, ${clockTime(seconds)}${speed}`;
}
