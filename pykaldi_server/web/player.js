/** Plays what was recorded or opened: one take at a time, from any place, up to the end of a word if wanted. */

export class Player {
  /** The take that is played or was played last. */
  take = null;

  #audio = new Audio();
  #url = "";
  #untilS = Infinity;
  #onChange;
  #onFailure;

  /**
   * @param {(take: object, timeS: number) => void} onChange  called for every frame while it plays, and when it stops
   * @param {(take: object) => void} onFailure  the browser cannot play this
   */
  constructor(onChange, onFailure) {
    this.#onChange = onChange;
    this.#onFailure = onFailure;
    this.#audio.addEventListener("play", () => this.#follow());
    for (const type of ["pause", "seeked", "ended", "durationchange"]) {
      this.#audio.addEventListener(type, () => this.take && this.#onChange(this.take, this.timeS));
    }
    this.#audio.addEventListener("error", () => this.take && this.#onFailure(this.take));
  }

  get isPlaying() {
    return !this.#audio.paused && !this.#audio.ended;
  }

  get timeS() {
    return this.#audio.currentTime;
  }

  /** Seconds; 0 as long as it is not known. */
  get durationS() {
    return Number.isFinite(this.#audio.duration) ? this.#audio.duration : 0;
  }

  /** Plays from a time, up to another one if there is one. */
  async play(take, source, fromS = null, untilS = Infinity) {
    this.#load(take, source);
    this.#untilS = untilS;
    if (fromS !== null) this.#audio.currentTime = fromS;
    try {
      await this.#audio.play();
    } catch (error) {
      // Another place was asked for meanwhile, or the browser cannot play this, which the element says by itself.
      if (!["AbortError", "NotSupportedError"].includes(error.name)) throw error;
    }
  }

  pause() {
    this.#audio.pause();
  }

  /** Goes to a time without starting. */
  seek(take, source, timeS) {
    this.#load(take, source);
    this.#untilS = Infinity;
    this.#audio.currentTime = timeS;
  }

  /** A take goes from the page. */
  forget(take) {
    if (take !== this.take) return;
    this.pause();
    this.take = null;
    this.#audio.removeAttribute("src");
    URL.revokeObjectURL(this.#url);
  }

  #load(take, source) {
    if (take === this.take) return;
    if (this.take) this.forget(this.take);
    this.take = take;
    this.#url = URL.createObjectURL(source.blob());
    this.#audio.src = this.#url;
  }

  #follow() {
    const take = this.take;
    const tick = () => {
      if (!this.isPlaying || this.take !== take) return;
      if (this.timeS >= this.#untilS) {
        this.#untilS = Infinity;
        this.pause();
      } else {
        this.#onChange(take, this.timeS);
        requestAnimationFrame(tick);
      }
    };
    tick();
  }
}
