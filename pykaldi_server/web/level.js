/** Whether the microphone hears anything, from the peaks of its samples. No page here. */

/** Below this there is not even noise: the microphone is off or muted. */
const DEAD_PEAK = 0.0005;
const QUIET_PEAK = 0.02;
const DEAD_AFTER_MS = 2000;
const QUIET_AFTER_MS = 8000;

/** 0..1 on a scale of loudness: from -48 dB to full scale. */
export function loudness(peak) {
  return peak > 0 ? Math.max(0, 1 + Math.log10(peak) / 2.4) : 0;
}

export class LevelWatch {
  #lastSoundMs;
  #lastVoiceMs;

  constructor(nowMs) {
    this.#lastSoundMs = this.#lastVoiceMs = nowMs;
  }

  /** @returns {"dead"|"quiet"|null} what to say of the microphone */
  add(peak, nowMs) {
    if (peak >= DEAD_PEAK) this.#lastSoundMs = nowMs;
    if (peak >= QUIET_PEAK) this.#lastVoiceMs = nowMs;
    if (nowMs - this.#lastSoundMs >= DEAD_AFTER_MS) return "dead";
    return nowMs - this.#lastVoiceMs >= QUIET_AFTER_MS ? "quiet" : null;
  }

  /** What to say of a microphone that gives no samples at all. */
  check(nowMs) {
    return this.add(0, nowMs);
  }

  /** Words have come: however quiet it is, it is loud enough. */
  heard(nowMs) {
    this.#lastVoiceMs = nowMs;
  }
}

export const LEVEL_HINTS = {
  dead: "No sound comes from the microphone. Is it muted, or is it another one?",
  quiet: "Nothing is heard. Speak louder or closer, or choose another microphone.",
};
