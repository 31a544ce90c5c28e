/**
 * The work on one take: audio from its source to the server, words back into the take, and again from where it was when
 * the connection is lost. The states are those of `machine.js`.
 */

import { connectionLost, failureOf, fileFailure } from "./failures.js";
import { initialState, isOver, retryDelayMs, step } from "./machine.js";

const PIECE_BYTES = 32 * 1024;

export class Job {
  state;

  /** Where recognition has come to: bytes of the source, seconds of its audio, and since when it has been at it. */
  progress = { bytes: 0, seconds: 0, beganMs: 0 };

  #world;
  #recognizer = null;
  #resume = { byte: 0, timeS: 0 };
  #timer = null;

  /** Up to where what comes has been heard before: its partial results would hide the longer ones of then. */
  #repeatsUntilS = 0;

  #refusal = null;

  /**
   * @param {import("./take.js").Take} take
   * @param {object} source  of `source.js`; null until there is one
   * @param {object} world  what lies outside
   * @param {(handlers: object) => object} world.connect  makes a `Recognizer` for this job
   * @param {(job: Job, change: {segment?: object, event?: object}) => void} world.onChange  called after every change
   * @param {() => string} world.serverName
   * @param {(reason: string) => Promise|null} world.askForAccess  asks for a token if that is why the server refuses
   * @param {() => number} world.now  milliseconds
   */
  constructor(take, source, world) {
    this.take = take;
    this.source = source;
    this.#world = world;
    this.state = initialState(take.kind === "file" ? "listed" : "asking");
  }

  get isFile() {
    return this.take.kind === "file";
  }

  /** How much of the audio has been recognised, 0..1; null for a recording that grows. */
  get fraction() {
    return this.source?.isComplete && this.source.size > 0 ? Math.min(1, this.progress.bytes / this.source.size) : null;
  }

  /** Seconds of audio recognised per second, since the connection was made. */
  speed(nowMs) {
    return (1000 * (this.progress.seconds - this.#resume.timeS)) / Math.max(1, nowMs - this.progress.beganMs);
  }

  /** What has failed or was cancelled can be begun again; nothing more is recorded. */
  again() {
    this.#do({ type: "again" });
  }

  begin(source = this.source) {
    this.source = source;
    this.#do({ type: "begin" });
    if (this.state.phase === "connecting") this.#connect();
  }

  /** The person wants to record no more; what has been said will still be recognised. */
  stop() {
    this.#do({ type: "stop" });
    this.source?.complete?.();
  }

  cancel() {
    this.#leave();
    this.take.interrupt();
    this.#do({ type: "cancel" });
  }

  fail(failure) {
    this.#leave();
    this.take.interrupt();
    this.#do({ type: "fail", failure });
  }

  /** Tries again, now. */
  retry() {
    if (this.state.phase !== "reconnecting") return;
    clearTimeout(this.#timer);
    this.#do({ type: "retry" });
    this.#connect();
  }

  #do(event, change = {}) {
    this.state = step(this.state, event);
    if (this.state.phase === "failed") this.source?.complete?.();
    this.#world.onChange(this, change);
  }

  #connect() {
    this.#resume = this.source.resumeAt(this.take.endS);
    this.#repeatsUntilS = Math.max(this.#repeatsUntilS, this.progress.seconds, this.take.endS);
    this.#refusal = null;
    const recognizer = this.#world.connect({
      onOpen: () => this.#opened(recognizer),
      onEvent: (event) => this.#heard(event),
      onClose: (isOrderly, reason) => this.#closed(isOrderly, reason),
    });
    this.#recognizer = recognizer;
  }

  #opened(recognizer) {
    this.#do({ type: "open" });
    this.progress = { bytes: this.#resume.byte, seconds: this.#resume.timeS, beganMs: this.#world.now() };
    this.#pump(recognizer);
  }

  async #pump(recognizer) {
    const { source } = this;
    let sentBytes = this.#resume.byte;
    while (recognizer === this.#recognizer && recognizer.isOpen) {
      if (sentBytes < source.size) {
        const audio = await source.read(sentBytes, sentBytes + PIECE_BYTES).catch((error) => {
          if (recognizer === this.#recognizer) this.fail(fileFailure(this.take.title, error));
        });
        if (recognizer !== this.#recognizer) return;
        await recognizer.send(audio);
        sentBytes += audio.byteLength;
      } else if (source.isComplete) {
        recognizer.finish();
        this.#do({ type: "sent" });
        return;
      } else await source.more(sentBytes);
    }
  }

  #heard(event) {
    if (event.status !== 0) {
      this.#refusal = event;
    } else if ("queue" in event) {
      this.#do({ type: "place", place: event.queue });
    } else if (event.position) {
      this.progress = {
        ...this.progress,
        bytes: this.#resume.byte + event.position.bytes,
        seconds: this.#resume.timeS + event.position.seconds,
      };
      this.#do({ type: "served" });
    } else if (event.result) {
      this.#heardResult(event);
    } else this.#world.onChange(this, { event });
  }

  #heardResult(event) {
    if (event.result.final) {
      const segment = this.take.addFinal(event, this.#resume.timeS);
      if (!segment) return;
      this.#repeatsUntilS = 0;
      this.#do({ type: "progress" }, { segment });
    } else if (this.progress.seconds >= this.#repeatsUntilS) {
      this.take.setPartial(event.result.hypotheses[0].transcript, event.channel ?? null);
      this.#world.onChange(this, {});
    }
  }

  #closed(isOrderly, reason) {
    this.#recognizer = null;
    if (isOver(this.state)) return;
    const asked = isOrderly ? null : this.#world.askForAccess(reason);
    if (asked) {
      this.take.interrupt();
      this.#do({ type: "lose", failure: connectionLost(this.#world.serverName()) });
      asked.then(() => this.retry());
    } else if (this.#refusal) this.#lose(failureOf(this.#refusal, this.#request));
    else if (isOrderly && this.state.isSent) {
      this.take.finish();
      this.#do({ type: "close" });
    } else this.#lose(connectionLost(this.#world.serverName()));
  }

  get #request() {
    const name = this.isFile ? this.take.title : "your recording";
    return { name, model: this.take.model, isFile: this.isFile };
  }

  #lose(failure) {
    this.take.interrupt();
    this.#do({ type: "lose", failure });
    if (this.state.phase !== "failed") this.#timer = setTimeout(() => this.retry(), retryDelayMs(this.state));
  }

  #leave() {
    clearTimeout(this.#timer);
    this.#recognizer?.cancel();
    this.#recognizer = null;
    this.source?.complete?.();
  }
}
